"""The data of a run."""

from __future__ import annotations

import dataclasses

import torch

from flowkernels.experiments.data import load_dataset
from flowkernels.experiments.data.columns import load_table_dataset
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.module import (
    ImageDataModule,
    InMemoryDataModule,
    TableDataModule,
)
from flowkernels.experiments.training.config import RunConfig, TrainingConfig
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.experiments.training.table_config import TableConfig

__all__ = ["data_module", "data_of", "table_module"]


def data_module(config: RunConfig, *, data_dir: str | None = None) -> ImageDataModule:
    """The images of a run.

    Args:
        config: of the run.
        data_dir: the folder of the files, if it differs from the configuration's.

    Raises:
        DataError: the data are missing, damaged, or too few for the configuration.
    """
    dataset = load_dataset(config.data, data_dir or config.data_dir)
    return ImageDataModule(
        dataset,
        batch_size=config.batch_size,
        val_size=config.val_size,
        eval_batch_size=max(config.batch_size, 250),
        seed=config.seed,
        steps_per_epoch=config.steps_per_epoch,
    )


def table_module(config: TableConfig, *, data_dir: str | None = None) -> TableDataModule:
    """The rows of a run on a table.

    Args:
        config: of the run.
        data_dir: the folder of the file, if it differs from the configuration's.

    Raises:
        DataError: the table is missing or damaged, or its columns do not fit the configuration.
    """
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
    dtype = torch.float64 if config.precision == "64-true" else torch.float32
    dataset = load_table_dataset(
        config.file,
        config.context,
        val=config.val_fraction,
        test=config.test_fraction,
        dtype=dtype,
    )
    if len(dataset.train) < config.devices:
        raise DataError(
            f"{config.file}: expected a training row for each of {config.devices} devices, got "
            f"{len(dataset.train)}"
        )
    return TableDataModule(
        dataset,
        batch_size=config.batch_size,
        eval_batch_size=max(config.batch_size, 1000),
        seed=config.seed,
        steps_per_epoch=config.steps_per_epoch,
    )


def data_of(config: TrainingConfig) -> InMemoryDataModule:
    """The data of a run of either kind."""
    if isinstance(config, TableConfig):
        return table_module(config)
    if isinstance(config, RunConfig):
        return data_module(config)
    raise ConfigError(
        f"configuration: expected one for images or for a table, got {type(config).__name__}"
    )

"""The configuration of a run on a table."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowkernels.bases import base_names
from flowkernels.experiments.data.tables import SUFFIXES
from flowkernels.experiments.training.config import (
    ADAMW,
    DATA,
    FLOW,
    TRAINING,
    WEIGHTS,
    RunConfig,
    TrainingConfig,
)
from flowkernels.experiments.training.settings import (
    ConfigError,
    described,
    name,
    number,
    read_settings,
    text,
    whole,
)

__all__ = ["FLOWS", "TableConfig", "config_kind", "is_table", "load_config"]

FLOWS = ("nsf", "maf", "realnvp")
_TRAINED = "the weights were trained on it"
_SPLIT = "the split would change, and some of the held-out rows were already trained on"


def is_table(data: object) -> bool:
    """Whether the setting `data` is the path of a table, not the name of a data set.

    Example:
        >>> is_table("wine.csv"), is_table("digits")
        (True, False)
    """
    return isinstance(data, str) and Path(data).suffix in SUFFIXES


@described
@dataclass(frozen=True)
class TableConfig(TrainingConfig):
    """All settings that determine the results of a training run on a table.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> TableConfig(data="wine.csv", context="alcohol,hue", flow="maf").flow
        'maf'
    """

    subject = "a table"
    size_settings = ("layers", "hidden")

    data: str = text("", "A table: .csv, .npy or .npz.", panel=DATA, kept=_TRAINED)
    data_dir: str | None = text(None, "Folder of the table, if it has moved.", panel=DATA)
    context: str | None = text(
        None,
        "Columns of a table that are given, separated by commas: names, or numbers from 1 where the"
        " table has no header. The flow is the density of the other columns given these; default:"
        " of all columns.",
        panel=DATA,
        kept=_TRAINED,
    )
    val_fraction: float = number(
        0.1,
        "Part of a table's rows held out for validation, if the file has no split.",
        most=0.9,
        panel=DATA,
        kept=_SPLIT,
    )
    test_fraction: float = number(
        0.1,
        "Part of a table's rows held out for `evaluate`, if the file has no split.",
        most=0.9,
        panel=DATA,
        kept=_SPLIT,
    )
    flow: str = name(
        "nsf",
        "Of a table: `nsf` (spline couplings), `maf` (autoregressive) or `realnvp`"
        " (affine couplings).",
        FLOWS,
        panel=FLOW,
        kept=WEIGHTS,
    )
    transform: str = name(
        "affine",
        "Of `--flow maf`: `affine` or `spline`.",
        ("affine", "spline"),
        panel=FLOW,
        kept=WEIGHTS,
    )
    layers: int = whole(
        5, "Layers of a flow on a table.", least=1, most=1000, panel=FLOW, kept=WEIGHTS
    )
    hidden: int = whole(
        64,
        "Width of its networks' two hidden layers.",
        least=1,
        most=16_384,
        panel=FLOW,
        kept=WEIGHTS,
    )
    bins: int = whole(
        8, "Bins of each spline (nsf, maf with splines).", least=1, most=256, panel=FLOW,
        kept=WEIGHTS,
    )  # fmt: skip
    base: str = name(
        "normal",
        "Base distribution.",
        tuple(base_names()),
        panel=FLOW,
        kept=WEIGHTS,
    )
    epochs: int = whole(
        50, "Passes over the training data.", least=1, most=1_000_000, panel=TRAINING
    )
    batch_size: int = whole(
        256,
        "Rows per step and device.",
        least=1,
        most=1 << 20,
        panel=TRAINING,
        kept="the position within the epoch counts batches of this size",
    )
    gradient_clip: float = number(
        10.0,
        "Largest Euclidean norm of the gradient.",
        most=1e12,
        positive=True,
        panel=TRAINING,
        kept=ADAMW,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_table(self.data):
            raise ConfigError(
                f"data: expected the path of a table ({', '.join(SUFFIXES)}), got {self.data!r}"
            )
        if self.transform != "affine" and self.flow != "maf":
            raise ConfigError(
                f"transform: expected affine unless flow is maf, got {self.transform!r} with flow "
                f"{self.flow}"
            )
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "val_fraction, test_fraction: expected less than 1 together, got "
                f"{self.val_fraction:g} and {self.test_fraction:g}"
            )

    @property
    def file(self) -> Path:
        """The table's path; in `data_dir`, if that is given."""
        path = Path(self.data)
        return path if self.data_dir is None else Path(self.data_dir) / path.name


def config_kind(values: Mapping[str, Any]) -> type[RunConfig] | type[TableConfig]:
    """The record for settings by name: `data` decides, a table or a data set of images."""
    return TableConfig if is_table(values.get("data")) else RunConfig


def load_config(path: str | os.PathLike[str]) -> RunConfig | TableConfig:
    """The configuration of a run, on images or on a table, from a JSON file.

    Raises:
        ConfigError: the file is missing, is not JSON, or has a wrong setting.
    """
    try:
        values = json.loads(read_settings(path))
    except (ValueError, RecursionError):
        values = None  # `load` says what is wrong
    return (config_kind(values) if isinstance(values, dict) else RunConfig).load(path)

"""The Lightning data modules of data sets in memory."""

from __future__ import annotations

import lightning.pytorch as pl
import torch

from flowkernels.experiments.data.batches import TensorBatches
from flowkernels.experiments.data.columns import TableDataset
from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError

__all__ = ["ImageDataModule", "InMemoryDataModule", "TableDataModule"]


class InMemoryDataModule(pl.LightningDataModule):
    """Training, validation and test batches of tensors.

    Args:
        train: (N, ...), the training data.
        val: held out while training; empty for none.
        test: the test data.
        batch_size: of a training step and device.
        eval_batch_size: of validation and test batches; default ``batch_size``.
        seed: of the training order.
        steps_per_epoch: batches per training epoch; None for all.

    Raises:
        ValueError: a batch size is below one.
    """

    def __init__(
        self,
        train: torch.Tensor,
        val: torch.Tensor,
        test: torch.Tensor,
        *,
        batch_size: int,
        eval_batch_size: int | None = None,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (eval_batch_size is not None and eval_batch_size < 1):
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        self.train_part, self.val_part, self.test_part = train, val, test
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of what a flow models of one datum."""
        raise NotImplementedError

    def _processes(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def train_dataloader(self) -> TensorBatches:
        """Shuffled batches of the training data; a smaller last batch is dropped.

        All data are copied to the trainer's device once, so that a batch needs no copy or
        synchronization.
        """
        batches = self._training(*self._processes())
        if self.trainer is not None:
            batches.images = batches.images.to(self.trainer.strategy.root_device)
        return batches

    def steps_in_epoch(self, world_size: int = 1) -> int:
        """The number of batches of a training epoch in each of ``world_size`` processes."""
        return len(self._training(0, world_size))

    def _training(self, rank: int, world_size: int) -> TensorBatches:
        return TensorBatches(
            self.train_part,
            self.batch_size,
            shuffle=True,
            drop_last=True,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            max_batches=self.steps_per_epoch,
        )

    def val_dataloader(self) -> TensorBatches | list[TensorBatches]:
        """The held-out data in order; an empty list if none are held out."""
        return self._in_order(self.val_part) if len(self.val_part) else []

    def test_dataloader(self) -> TensorBatches:
        """The test data in order."""
        return self._in_order(self.test_part)

    def _in_order(self, data: torch.Tensor) -> TensorBatches:
        rank, world_size = self._processes()
        return TensorBatches(data, self.eval_batch_size, rank=rank, world_size=world_size)


class ImageDataModule(InMemoryDataModule):
    """Training, validation and test batches of a data set of images.

    The validation images are held out of the training split by a shuffle with a fixed seed, so
    that all runs on a data set validate on the same images.

    Args:
        dataset: the images.
        batch_size: images per batch and device.
        val_size: number of training images to hold out; 0 for none.
        eval_batch_size: of validation and test batches; default ``batch_size``.
        seed: of the training order.
        steps_per_epoch: batches per training epoch; None for all.

    Raises:
        DataError: ``val_size`` leaves no training images.
        ValueError: a batch size is below one.

    Example:
        >>> from flowkernels.experiments.data import load_dataset
        >>> data = ImageDataModule(load_dataset("digits"), batch_size=64, val_size=200)
        >>> len(data.train_images), len(data.val_images), len(data.dataset.test)
        (1237, 200, 360)
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_size: int,
        val_size: int = 0,
        eval_batch_size: int | None = None,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        count = len(dataset.train)
        if not 0 <= val_size < count:
            raise DataError(
                f"val_size: expected 0 to {count - 1} of the {count} training images of "
                f"{dataset.name}, got {val_size}"
            )
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        super().__init__(
            dataset.train[order[val_size:]],
            dataset.train[order[:val_size]],
            dataset.test,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
        )
        self.dataset = dataset

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.dataset.shape

    @property
    def train_images(self) -> torch.Tensor:
        """The training images that are not held out."""
        return self.train_part

    @property
    def val_images(self) -> torch.Tensor:
        """The images held out."""
        return self.val_part


class TableDataModule(InMemoryDataModule):
    """Training, validation and test rows of a table, each with its context behind it.

    Args:
        dataset: the table.
        batch_size: rows per batch and device.
        eval_batch_size: of validation and test batches; default ``batch_size``.
        seed: of the training order.
        steps_per_epoch: batches per training epoch; None for all.
    """

    def __init__(
        self,
        dataset: TableDataset,
        *,
        batch_size: int,
        eval_batch_size: int | None = None,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            dataset.train,
            dataset.val,
            dataset.test,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
        )
        self.dataset = dataset

    @property
    def event_shape(self) -> tuple[int]:
        """(d,), the number of modelled columns."""
        return (len(self.dataset.modelled),)

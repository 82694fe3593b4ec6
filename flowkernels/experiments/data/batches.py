"""Batches of images held in memory, in a resumable order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["TensorBatches"]


class TensorBatches:
    """Iterates over a tensor of images in batches, indexing one batch at a time.

    The order of an epoch depends only on (seed, epoch) and uses no random numbers of torch's
    default generator, so every batch is reproducible: :meth:`state_dict` holds the epoch and the
    number of batches delivered. Lightning saves and restores this state and calls
    :meth:`set_epoch`.

    Each of ``world_size`` processes takes every ``world_size``-th image of the order. With
    shuffling, the end is padded from the start so that all processes have the same number of
    batches (as in ``torch.utils.data.DistributedSampler``). Without shuffling no image is
    repeated, so a mean over the processes is exact.

    Args:
        images: (N, ...) tensor; a batch is ``images[indices]``.
        batch_size: images per batch and process.
        shuffle: use a new random order every epoch.
        drop_last: drop a smaller last batch, unless it is the only one.
        seed: of the orders.
        rank: of this process.
        world_size: number of processes.
        max_batches: the largest number of batches per epoch.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> batches = TensorBatches(torch.arange(10), batch_size=4, shuffle=True, seed=1)
        >>> [len(batch) for batch in batches]
        [4, 4, 2]
        >>> torch.equal(torch.cat(list(batches)).sort().values, torch.arange(10))
        True
    """

    # Lightning expects the DataLoader attributes `batch_sampler` and `sampler`.
    batch_sampler = None

    def __init__(
        self,
        images: torch.Tensor,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        max_batches: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if max_batches is not None and max_batches < 1:
            raise ValueError(f"max_batches: expected at least 1, got {max_batches}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to {world_size - 1} of world_size, got {rank}")
        if len(images) < world_size:
            raise ValueError(f"images: expected at least {world_size}, got {len(images)}")
        self.images = images
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.max_batches = max_batches
        self.epoch = 0
        self._delivered = 0
        self._resume_at: tuple[int, int] | None = None

    @property
    def sampler(self) -> TensorBatches:
        """Itself: Lightning calls ``sampler.set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def _share(self) -> int:
        """The number of images that this process sees in an epoch."""
        count = len(self.images)
        if self.shuffle:
            return math.ceil(count / self.world_size)
        return len(range(self.rank, count, self.world_size))

    def __len__(self) -> int:
        batches = self._share() / self.batch_size
        count = int(batches) if self.drop_last and batches >= 1 else math.ceil(batches)
        return count if self.max_batches is None else min(count, self.max_batches)

    def order(self, epoch: int) -> torch.Tensor:
        """The indices that this process sees in ``epoch``, in order."""
        count = len(self.images)
        if not self.shuffle:
            return torch.arange(self.rank, count, self.world_size)
        # Mix seed and epoch so that different pairs (seed 0, epoch 1 and seed 1, epoch 0) give
        # different orders.
        mixed = (self.seed * 0x9E3779B97F4A7C15 + (epoch + 1) * 0xBF58476D1CE4E5B9) % 2**63
        order = torch.randperm(count, generator=torch.Generator().manual_seed(mixed))
        padded = torch.cat([order, order[: self._share() * self.world_size - count]])
        return padded[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[torch.Tensor]:
        # Lightning creates the iterator before it sets the epoch. A generator reads the epoch only
        # when the first batch is requested.
        epoch = self.epoch
        start = 0
        if self._resume_at is not None:
            resume_epoch, resume_batch = self._resume_at
            start = resume_batch if resume_epoch == epoch else 0
            self._resume_at = None
        indices = self.order(epoch).to(self.images.device)
        for batch in range(start, len(self)):
            first = batch * self.batch_size
            self._delivered = batch + 1
            yield self.images[indices[first : first + self.batch_size]]

    def state_dict(self) -> dict[str, Any]:
        """The position in the current epoch."""
        return {"epoch": self.epoch, "delivered": self._delivered % max(1, len(self))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start the next iteration after the batches that were already delivered."""
        self.epoch = int(state["epoch"])
        self._delivered = int(state["delivered"])
        self._resume_at = (self.epoch, self._delivered)

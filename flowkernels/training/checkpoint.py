"""Checkpoints: written whole, holding everything the next step depends on."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from flowkernels.data.files import atomic_write, sweep_unfinished
from flowkernels.evaluation.noise import random_state, set_random_state

__all__ = ["AtomicCheckpointIO", "RandomState", "RunCheckpoints"]

# Apart by more than any epoch or batch number that is added to a seed elsewhere.
_RANK_STRIDE = 1_000_003


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are either whole or not there, whenever the process is killed.

    Lightning's own goes through a temporary file that may lie in another file system, and does not
    wait for the disk.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write ``checkpoint`` to ``path`` in one step."""
        if storage_options is not None:
            raise TypeError(f"storage_options: expected None, got {storage_options!r}")
        with atomic_write(path) as file:
            torch.save(checkpoint, file)


class RunCheckpoints(Checkpoint):
    """Keeps two files: ``last``, the newest state, and ``best``, the best validated one.

    ``last`` is written every ``every`` steps and at the end of every epoch. The step that ends an
    epoch is saved after its validation, once: resuming from between the two would skip the
    validation. ``best`` comes before ``last``, which holds its score. Names and paths are no part
    of the state, so a run's folder can be moved.

    Args:
        last: the file of the newest state.
        best: the file of the best state.
        every: optimiser steps between two newest states.
    """

    def __init__(
        self, last: str | os.PathLike[str], best: str | os.PathLike[str], *, every: int
    ) -> None:
        super().__init__()
        self.last = Path(last)
        self.best = Path(best)
        self.every = every
        self.best_score = math.inf

    def state_dict(self) -> dict[str, Any]:
        """The score of ``best``."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up from a checkpoint."""
        self.best_score = float(state_dict["best_score"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove what a killed process left half written."""
        if trainer.is_global_zero:
            sweep_unfinished(self.last.parent)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save in the middle of an epoch."""
        if trainer.global_step % self.every == 0 and not trainer.is_last_batch:
            trainer.save_checkpoint(self.last, weights_only=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a finished and validated epoch."""
        score = trainer.callback_metrics.get("val_bpd")
        if score is not None and float(score) < self.best_score:
            self.best_score = float(score)
            trainer.save_checkpoint(self.best, weights_only=False)
        trainer.save_checkpoint(self.last, weights_only=False)


class RandomState(pl.Callback):
    """Puts the random state of every process into the checkpoint, and back when training starts.

    A fresh run seeds each process differently, so that two of them do not add the same noise.

    Args:
        seed: of a fresh run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._states: list[dict[str, Any]] | None = None

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Collect the state of every process."""
        mine = random_state()
        states: list[Any] = [mine]
        if trainer.world_size > 1:
            states = [None] * trainer.world_size
            torch.distributed.all_gather_object(states, mine)
        checkpoint["random_state"] = states

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Remember the states until everything else that might draw is done."""
        self._states = checkpoint.get("random_state")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the saved state, or start one."""
        rank = trainer.global_rank
        if self._states is None:
            pl.seed_everything((self.seed + rank * _RANK_STRIDE) % 2**32, verbose=False)
        elif rank < len(self._states):
            set_random_state(self._states[rank])
        else:
            raise ValueError(
                f"the checkpoint was written by {len(self._states)} process(es) and cannot be "
                f"resumed exactly by {trainer.world_size}"
            )
        self._states = None

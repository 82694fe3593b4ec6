"""Checkpoints: written atomically, with all state that the next step depends on."""

from __future__ import annotations

import math
import os
import shutil
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from flowkernels.experiments.data.files import sweep_unfinished
from flowkernels.experiments.data.tensor_file import save_tensors, sweep_parts
from flowkernels.experiments.evaluation.noise import random_state, set_random_state
from flowkernels.experiments.training.errors import RunError, TimeLimitError
from flowkernels.experiments.training.module import FlowModule, NonFiniteError
from flowkernels.experiments.training.recovery import read_checkpoint
from flowkernels.experiments.training.run import Run
from flowkernels.experiments.training.time_limit import TimeLimit

__all__ = ["AtomicCheckpointIO", "RandomState", "RunCheckpoints", "of_every_process"]

# Larger than any epoch or batch number that is added to a seed elsewhere.
_RANK_STRIDE = 1_000_003


def of_every_process(value: Any) -> list[Any]:
    """The values of all training processes, by rank.

    Example:
        >>> of_every_process(3)
        [3]
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, even if the process is killed, and with a checksum.

    Lightning's own may use a temporary file on another file system and does not sync to disk.

    Args:
        most: the largest number of bytes of a file; None for one file of any size.
    """

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = most

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write ``checkpoint`` to ``path`` atomically."""
        if storage_options is not None:
            raise TypeError(f"storage_options: expected None, got {storage_options!r}")
        save_tensors(path, checkpoint, most=self.most)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read and verify a checkpoint, onto the CPU; nothing in it is executed.

        Raises:
            RunError: it is damaged.
        """
        return read_checkpoint(path)


class RunCheckpoints(Checkpoint):
    """Saves ``last``, the newest state, ``previous``, the one before, and ``best`` by validation.

    ``last`` is written every ``every`` steps and at the end of every epoch. The last step of an
    epoch is saved once, after its validation: resuming from before it would skip the validation.
    ``best`` is written before ``last``, which contains its score. The state contains no paths, so
    a run's folder can be moved.

    Bad weights show only in the loss of the next step. If that loss is not finite and ``last``
    has these weights, ``previous`` replaces it.

    When the time is up, training saves ``last`` after the step and stops there, without the
    validation that ends an epoch. Only the last step of an epoch is followed by it: see above.
    With several processes, one whose time is up stops all.

    Args:
        run: the run whose files are written.
        every: optimiser steps between two saves of ``last``.
        limit: of the time.
        look_every: with several processes, steps between two looks at the time. Each look waits
            for all of them.

    Raises:
        TimeLimitError: while training, the time is up and the run is not finished.
    """

    def __init__(
        self, run: Run, *, every: int, limit: TimeLimit | None = None, look_every: int = 1
    ) -> None:
        super().__init__()
        self.run = run
        self._saved_at = -1
        self.every = every
        self.limit = limit or TimeLimit()
        self.look_every = look_every
        self.best_score = math.inf

    def state_dict(self) -> dict[str, Any]:
        """The score of ``best``."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        self.best_score = float(state_dict["best_score"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove temporary files and parts of checkpoints of killed processes."""
        if trainer.is_global_zero:
            sweep_unfinished(self.run.checkpoints)
            sweep_parts(self.run.checkpoints)
            # Not of pictures, say: another command may be writing one.
            for path in (self.run.config_file, self.run.history_file):
                sweep_unfinished(path.parent, path.name)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save in the middle of an epoch; stop there if the time is up."""
        if trainer.is_last_batch:
            return
        looks = trainer.world_size == 1 or trainer.global_step % self.look_every == 0
        time_is_up = looks and self._time_is_up(trainer)
        if time_is_up or trainer.global_step % self.every == 0:
            assert isinstance(pl_module, FlowModule)
            pl_module.check_finite()
            self._save_last(trainer)
        if time_is_up:
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a finished and validated epoch; stop there if the time is up."""
        assert isinstance(pl_module, FlowModule)
        if pl_module.val_score < self.best_score:
            self.best_score = pl_module.val_score
            trainer.save_checkpoint(self.run.best, weights_only=False)
        self._save_last(trainer)
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0) and self._time_is_up(trainer):
            self._stop(trainer)

    def _time_is_up(self, trainer: pl.Trainer) -> bool:
        """Whether it is for any process."""
        if not self.limit.is_set:
            return False
        return trainer.strategy.reduce_boolean_decision(self.limit.is_over(), all=False)

    def _stop(self, trainer: pl.Trainer) -> NoReturn:
        step, module = trainer.global_step, trainer.lightning_module
        assert isinstance(module, FlowModule)
        raise TimeLimitError(
            f"the time is up: training stopped after step {step} of {module.total_steps}, saved in "
            f"{self.run.last}",
            step=step,
            total=module.total_steps,
        )

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Discard a state whose next loss is not finite."""
        if not isinstance(exception, NonFiniteError) or not trainer.is_global_zero:
            return
        if self._saved_at == exception.good_steps:
            if self.run.previous.exists():
                self.run.previous.replace(self.run.last)
            else:
                self.run.last.unlink()

    def _save_last(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and not self.run.config_file.exists():
            # Otherwise the checkpoint would make the folder again, with nothing else in it.
            raise RunError(f"{self.run.path}: the run's folder was removed while it was training")
        last, previous = self.run.last, self.run.previous
        if trainer.is_global_zero and last.exists():
            # A hard link, so that `last` exists at every moment.
            spare = previous.with_suffix(".tmp")
            spare.unlink(missing_ok=True)
            try:
                spare.hardlink_to(last)
            except OSError:
                shutil.copyfile(last, spare)
            spare.replace(previous)
        trainer.save_checkpoint(last, weights_only=False)
        if trainer.is_global_zero:
            sweep_parts(self.run.checkpoints)
        self._saved_at = trainer.global_step


class RandomState(pl.Callback):
    """Saves the random state of every process in checkpoints and restores it when training starts.

    A new run seeds each process differently, so that processes do not add the same noise. So does
    a process that a resumed run has in addition.

    Args:
        seed: of a new run.
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
        checkpoint["random_state"] = of_every_process(random_state())

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Keep the states until all other code that may draw random numbers has run."""
        self._states = checkpoint.get("random_state")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the saved state, or seed a new one."""
        rank = trainer.global_rank
        # Also where a saved state follows: a run may continue on more processes or another device.
        seed = self.seed + rank * _RANK_STRIDE + trainer.global_step
        pl.seed_everything(seed % 2**32, verbose=False)
        if self._states is not None and rank < len(self._states):
            set_random_state(self._states[rank])
        self._states = None

"""Progress of training: a live bar on a terminal, otherwise plain lines."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

from flowkernels.experiments.training.module import FlowModule

__all__ = ["LineProgress", "progress_callback"]


class LineProgress(pl.Callback):
    """Prints a line every ``every`` seconds, for logs.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = 15.0) -> None:
        self.every = every
        self._started = self._shown = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = self._shown = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Print a line if ``every`` seconds have passed."""
        now = time.monotonic()
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 1)
        if not trainer.is_global_zero or now - self._shown < self.every:
            return
        self._shown = now
        done = trainer.global_step - self._first_step
        rate = done / (now - self._started)
        data = rate * len(batch) * trainer.world_size
        left = (total - trainer.global_step) / rate
        assert isinstance(pl_module, FlowModule)
        score, name = pl_module.val_score, pl_module.score_name
        print(
            f"step {trainer.global_step}/{total}  "
            f"{name} {float(outputs['loss']):.3f}  "
            + ("" if math.isnan(score) else f"val_{name} {score:.3f}  ")
            + f"{data:.0f} {pl_module.data_name}/s  {left:.0f} s left",
            flush=True,
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the validation score."""
        assert isinstance(pl_module, FlowModule)
        if trainer.is_global_zero:
            print(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} validated: "
                f"val_{pl_module.score_name} {pl_module.val_score:.4f}",
                flush=True,
            )


class LiveBar(RichProgressBar):
    """Lightning's bar, with the scores that were last read, so that it needs no synchronization."""

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The scores of training and of the last validation, if available."""
        assert isinstance(pl_module, FlowModule)
        name = pl_module.score_name
        scores = {name: pl_module.train_score, f"val_{name}": pl_module.val_score}
        return {name: score for name, score in scores.items() if not math.isnan(score)}


def progress_callback() -> pl.Callback:
    """A live bar with the scores on a terminal, otherwise lines."""
    return LiveBar(leave=True) if sys.stdout.isatty() else LineProgress()

"""metrics.csv: the scores of a run, without gaps or repetitions after interruptions."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from flowkernels.experiments.training.checkpoint import of_every_process
from flowkernels.experiments.training.module import FlowModule
from flowkernels.experiments.training.run import RunError

__all__ = ["COLUMNS", "History", "read_history"]

COLUMNS = ("step", "epoch", "train_bpd", "gradient_norm", "learning_rate", "val_bpd")


class History(pl.Callback):
    """Appends a row to a CSV file every ``every`` steps and after every validation.

    ``train_bpd`` is the mean over all processes and the steps since the last row. Checkpoints
    contain the file's length, and resuming truncates the file to it, so an interrupted run gives
    the same file, byte for byte, as an uninterrupted one. The file contains no times. The same
    values go to the trainer's loggers.

    Args:
        path: the file.
        every: optimiser steps between two rows.
    """

    def __init__(self, path: str | os.PathLike[str], every: int) -> None:
        self.path = Path(path)
        self.every = every
        self._length: int | None = None
        self._sum = torch.zeros((), dtype=torch.float64)
        self._count = 0
        self._sums: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """The file's length and the running mean."""
        sums = of_every_process(float(self._sum))
        return {"length": self._length, "sums": sums, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        self._length = int(state_dict["length"])
        self._sums = list(state_dict["sums"])
        self._count = int(state_dict["count"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Create the file, or truncate it to its length in the checkpoint."""
        if self._sums:
            self._sum.fill_(self._sums[trainer.global_rank])
        if not trainer.is_global_zero:
            return
        if self._length is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            header = ",".join(COLUMNS) + "\n"
            self.path.write_text(header)
            self._length = len(header)
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._length:
            raise RunError(
                f"{self.path}: expected at least the {self._length} bytes that the checkpoint "
                f"counts, found {size}"
            )
        os.truncate(self.path, self._length)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the step to the mean; write a row every `every` steps."""
        assert isinstance(pl_module, FlowModule)
        # Stays on the device: reading it would synchronise at every step.
        self._sum = self._sum.to(outputs["loss"].device) + outputs["loss"].detach().double()
        self._count += 1
        if trainer.global_step % self.every:
            return
        mean = trainer.strategy.reduce(self._sum / self._count, reduce_op="mean")
        self._sum, self._count = torch.zeros_like(self._sum), 0
        pl_module.train_score = float(mean)
        self._write(
            trainer,
            train_bpd=pl_module.train_score,
            gradient_norm=float(pl_module.gradient_norm),
            learning_rate=pl_module.step_learning_rate,
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the validation score."""
        assert isinstance(pl_module, FlowModule)
        self._write(trainer, val_bpd=pl_module.val_score)

    def _write(self, trainer: pl.Trainer, **values: float) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if not trainer.is_global_zero or self._length is None:
            return
        row = {"step": trainer.global_step, "epoch": trainer.current_epoch, **values}
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, restval="", lineterminator="\n").writerow(row)
        with self.path.open("ab") as file:
            file.write(line.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
        self._length += len(line.getvalue())


def read_history(path: str | os.PathLike[str]) -> dict[str, list[tuple[int, float]]]:
    r"""The columns of a metrics.csv as (step, value) pairs, without empty cells.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
        >>> _ = path.write_text("step,train_bpd,val_bpd\n10,4.5,\n10,,4.25\n")
        >>> read_history(path)
        {'train_bpd': [(10, 4.5)], 'val_bpd': [(10, 4.25)]}
    """
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name not in ("step", "epoch")]
    return {
        name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in names
    }

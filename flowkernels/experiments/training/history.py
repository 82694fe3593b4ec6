"""metrics.csv: the scores of a run, without gaps or repetitions after interruptions."""

from __future__ import annotations

import csv
import io
import logging
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from flowkernels.experiments.data.files import naming, write_bytes
from flowkernels.experiments.training.checkpoint import of_every_process
from flowkernels.experiments.training.errors import RunError
from flowkernels.experiments.training.module import FlowModule

__all__ = ["History", "read_history"]

log = logging.getLogger(__name__)


class History(pl.Callback):
    """Appends a row to a CSV file every ``every`` steps and after every validation.

    ``train_bpd`` is the mean over all processes and the steps since the last row; for a score of
    another name the column has that name. Checkpoints contain the file's text, and resuming
    restores it, so an interrupted run gives the same file,
    byte for byte, as an uninterrupted one, even if the file was lost or changed. The file contains
    no times. The same values go to the trainer's loggers.

    Args:
        path: the file.
        every: optimiser steps between two rows.
        score: name of the score, see :class:`flowkernels.experiments.training.FlowModule`.
    """

    def __init__(self, path: str | os.PathLike[str], every: int, score: str = "bpd") -> None:
        self.path = Path(path)
        self._score = score
        rates = ("gradient_norm", "learning_rate")
        self._columns = ("step", "epoch", f"train_{score}", *rates, f"val_{score}")
        self._header = (",".join(self._columns) + "\n").encode()
        self.every = every
        # The file's content; None before it is created, and in all processes but the first.
        self._text: bytearray | None = None
        # Of a checkpoint of an older version, which has no text.
        self._length = 0
        self._sum = torch.zeros((), dtype=torch.float64)
        self._count = 0
        self._sums: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """The file's text and the running mean."""
        sums = of_every_process(float(self._sum))
        text = torch.frombuffer(bytearray(self._text or b"\n"), dtype=torch.uint8)
        length = len(self._text or b"")
        return {"length": length, "text": text, "sums": sums, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        self._length = int(state_dict["length"])
        if (text := state_dict.get("text")) is not None:
            self._text = bytearray(text.numpy().tobytes()[: self._length])
        self._sums = list(state_dict["sums"])
        self._count = int(state_dict["count"])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Create the file, or restore it from the checkpoint, also if the run is finished."""
        if not trainer.is_global_zero:
            self._text = None
            return
        if self._text is None and not self._length:
            if trainer.ckpt_path is not None:
                raise RunError(
                    f"{trainer.ckpt_path}: undamaged, but not a checkpoint of this run, so it "
                    "cannot be resumed (it has no copy of metrics.csv)"
                )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._text = bytearray(self._header)
            write_bytes(self.path, self._text)
            return
        found = self._found()
        if self._text is None:  # a checkpoint of an older version
            if len(found) < self._length:
                log.warning(
                    "%s: rows are lost, %d of %d bytes are left; the checkpoint is of an older "
                    "version and has no copy",
                    self.path,
                    len(found),
                    self._length,
                )
                # Without half a row.
                found = found[: found.rfind(b"\n") + 1] or bytearray(self._header)
                write_bytes(self.path, found)
            self._text = found
        elif found != self._text:
            # Rows after the checkpoint are usual: training was interrupted.
            log.warning("%s was lost or changed; restored from the checkpoint", self.path)
            write_bytes(self.path, self._text)
            return
        if self.path.stat().st_size > len(self._text):
            with naming(self.path):
                os.truncate(self.path, len(self._text))

    def _found(self) -> bytearray:
        """The file's content as far as the checkpoint counts it."""
        try:
            with self.path.open("rb") as file:
                return bytearray(file.read(self._length))
        except FileNotFoundError:
            return bytearray()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the sum of the steps since the last row."""
        if self._sums:
            same = len(self._sums) == trainer.world_size
            mean = sum(self._sums) / len(self._sums)
            self._sum.fill_(self._sums[trainer.global_rank] if same else mean)

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
        values = {
            f"train_{self._score}": pl_module.train_score,
            "gradient_norm": float(pl_module.gradient_norm),
            "learning_rate": pl_module.step_learning_rate,
        }
        self._write(trainer, values)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the validation score."""
        assert isinstance(pl_module, FlowModule)
        self._write(trainer, {f"val_{self._score}": pl_module.val_score})

    def _write(self, trainer: pl.Trainer, values: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if not trainer.is_global_zero or self._text is None:
            return
        row = {"step": trainer.global_step, "epoch": trainer.current_epoch, **values}
        line = io.StringIO()
        csv.DictWriter(line, self._columns, restval="", lineterminator="\n").writerow(row)
        written = line.getvalue().encode()
        try:
            # Not "ab", which would create a file without its first rows.
            with naming(self.path), self.path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError as error:
            raise RunError(f"{self.path}: was removed while the run was training") from error
        self._text += written


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

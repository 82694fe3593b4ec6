"""Small training runs in child processes, and the moments at which they can be killed."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pathlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.data import tensor_file
from flowkernels.experiments.training import RunConfig, fit
from tests.experiments.training.conftest import TINY
from tests.experiments.training.same import assert_same_runs

# 18 steps, a checkpoint after each, 12 rows of metrics.csv.
SETTINGS = replace(TINY, base="vmf", steps_per_epoch=6, log_every=2)
PATIENCE = 120.0


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit status; negative for a signal.
        said: what the work returned, or the text of its exception.
        seconds: that it took.
    """

    code: int
    said: Any
    seconds: float


def in_child(
    work: Callable[[], Any], *, kill_after: float | None = None, patience: float = PATIENCE
) -> Ended:
    """Runs `work` in a forked process; kills it after a time if so told."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def run() -> None:
        torch.set_num_threads(1)
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.ERROR)
        try:
            there.send(work())
        except BaseException as error:
            there.send(f"{type(error).__name__}: {error}")
            os._exit(1)
        os._exit(0)

    child = context.Process(target=run)
    begun = time.monotonic()
    child.start()
    there.close()
    said = None
    # An answer may be larger than the pipe: take it before waiting for the end.
    if here.poll(patience if kill_after is None else kill_after):
        with contextlib.suppress(EOFError):  # killed by itself
            said = here.recv()
    elif kill_after is None:
        said = f"did not end within {patience:.0f} s"
    if said is None or kill_after is None:
        child.join(0 if kill_after is not None else 10)
    if child.is_alive():
        child.kill()
    child.join()
    return Ended(child.exitcode or 0, said, time.monotonic() - begun)


def resident(which: str) -> int:
    """The resident memory of this process, in bytes: `VmRSS` now, `VmHWM` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: no {which}")


def forget_peak() -> None:
    """Measure the largest resident memory from here on: a forked child has its parent's."""
    Path("/proc/self/clear_refs").write_text("5")


def train(folder: Path, config: RunConfig = SETTINGS) -> None:
    """Train, or resume what is there."""
    fit(config, folder, resume=True, progress=False)


def same(a: Path, b: Path) -> str | None:
    """None if two runs agree bit for bit, otherwise where they differ."""
    try:
        assert_same_runs(a, b)
    except AssertionError as error:
        return f"differ at {str(error).splitlines()[0] if str(error) else 'metrics.csv'}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


# ---- moments -------------------------------------------------------------------------


class Moments:
    """Counts the events of a run and kills the process at one of them.

    Events are the bytes written to checkpoints, the syncs of files to the disk (before each), and
    the renames of finished files (before and after each).
    """

    def __init__(self, kind: str = "", at: int = -1) -> None:
        self.kind, self.at = kind, at
        self.counts = {"byte": 0, "sync": 0, "rename": 0}

    def _event(self, kind: str, count: int = 1) -> None:
        self.counts[kind] += count
        if kind == self.kind and self.counts[kind] > self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Count from now on, in this process."""
        write, sync, replace = tensor_file._Hashing.write, os.fsync, pathlib.Path.replace

        def counted_write(this: Any, data: Any) -> int:
            left = self.at - self.counts["byte"]
            if self.kind == "byte" and left < len(data):
                write(this, bytes(data)[: max(0, left)])
                this.file.flush()
            self._event("byte", len(data))
            return write(this, data)

        def counted_sync(descriptor: int) -> None:
            self._event("sync")
            sync(descriptor)

        def counted_replace(this: Path, target: Any) -> Path:
            self._event("rename")
            done = replace(this, target)
            self._event("rename")
            return done

        tensor_file._Hashing.write = counted_write  # type: ignore[method-assign]
        os.fsync = counted_sync
        pathlib.Path.replace = counted_replace  # type: ignore[method-assign]


def watched(folder: Path, moments: Moments, config: RunConfig = SETTINGS) -> dict[str, int]:
    """Train under `moments`; the number of events of each kind."""
    moments.watch()
    train(folder, config)
    return moments.counts

"""Fills torch.compile's cache on all cores before anything is timed.

Compiling takes several times as long as timing, and other processes do not disturb it.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
from rich.progress import track

from . import implementations
from .registry import Row, every_core


def _compile(row: Row, full: bool) -> None:
    warnings.simplefilter("ignore")  # torch's internal warnings
    torch.set_num_threads(row.threads)
    for name, call in implementations.peers(row, row.tensors(), full=full).items():
        if name.endswith("compiled"):
            call()


def _job(index: int, full: bool, label: str) -> None:
    # Rows cannot be pickled, so the worker builds the list again.
    from .registry import rows

    row = rows(full)[index]
    assert row.label == label, f"{row.label} is not {label}: the registry has changed"
    _compile(row, full)


def warm(chosen: Sequence[Row], everything: Sequence[Row], full: bool) -> None:
    """Compile the compiled implementations of the chosen rows."""
    if len(chosen) < 2:  # not worth the processes
        return
    labels = [row.label for row in everything]
    wanted = {row.label for row in chosen}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(every_core(), mp_context=context) as pool:
        jobs = [pool.submit(_job, i, full, name) for i, name in enumerate(labels) if name in wanted]
        for job in track(as_completed(jobs), "compiling the peers", total=len(jobs)):
            # A failure here, such as a race for torch.compile's cache, is ignored: the row compiles
            # again when it is timed, and fails there.
            job.exception()

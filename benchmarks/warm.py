"""Fills torch.compile's cache on every core before anything is timed.

Compiling takes several times longer than timing, and does not care what else runs.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
from rich.progress import track

from . import contestants
from .registry import Row, every_core


def _compile(row: Row, full: bool) -> None:
    warnings.simplefilter("ignore")  # of torch about its own internals
    torch.set_num_threads(row.threads)
    for name, call in contestants.peers(row, row.tensors(), full=full).items():
        if name.endswith("compiled"):
            call()


def _job(index: int, full: bool, label: str) -> None:
    # Rows hold functions that cannot be pickled: the worker makes the list again.
    from .registry import rows

    row = rows(full)[index]
    assert row.label == label, f"{row.label} is not {label}: the registry changed meanwhile"
    _compile(row, full)


def warm(chosen: Sequence[Row], everything: Sequence[Row], full: bool) -> None:
    """Compiles every compiled contestant of the chosen rows among rows(full)."""
    if len(chosen) < 2:  # not worth the processes
        return
    labels = [row.label for row in everything]
    wanted = {row.label for row in chosen}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(every_core(), mp_context=context) as pool:
        jobs = [pool.submit(_job, i, full, name) for i, name in enumerate(labels) if name in wanted]
        for job in track(as_completed(jobs), "compiling the peers", total=len(jobs)):
            # What fails here, such as a race for torch.compile's cache, is compiled again,
            # and refused if it fails again, when the row is timed.
            job.exception()

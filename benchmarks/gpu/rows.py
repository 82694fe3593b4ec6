"""The rows timed on a GPU: the subjects of ../registry.py at GPU sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from flowkernels.ops._declaration import PUBLIC

from ..registry import SUBJECTS, Inputs, Row, Size, Subject, subject_of

LAUNCH: Size = (64, 8)  # the fixed cost of a call dominates
NARROW: Size = (1048576, 6)
WIDE: Size = (8192, 784)
HUGE: Size = (65536, 1024)  # 64 Mi elements
# In the order in which `rows` yields them.
SIZES: tuple[Size, ...] = (LAUNCH, HUGE, WIDE, NARROW)
TINY: tuple[Size, ...] = ((64, 8), (16, 32))

ELEMENTWISE: tuple[Size, ...] = ((512,), (100_000_000,), (65536,), (1048576,))
MATRICES: tuple[Size, ...] = ((64, 8), (65536, 32))
# Elements with 23 parameters each.
SPLINES: tuple[Size, ...] = (LAUNCH, (65536, 64), (4096, 16))
POINTS = 16
# Forward and backward are timed together only at the LAUNCH size.
FORWARD, BACKWARD, BOTH = "forward", "backward", "forward+backward"
SAMPLERS = ("tangent_normal", "vmf_sample")
WITHOUT_GRADIENT = ("vmf_sample",)  # the peer's draws have no gradient


def kernels_of(op: str) -> str:
    """The op of the dispatcher whose kernels are an op's."""
    return PUBLIC[op].served_by[0] if op in PUBLIC else op


def subjects() -> list[Subject]:
    """The subjects of the registry, the samplers, and slerp with many points per pair."""
    # On a GPU, networks are torch's matrix products.
    chosen = [s for s in SUBJECTS if not PUBLIC[s.op].on_gpu]
    chosen += [subject_of(PUBLIC[op]) for op in SAMPLERS]
    pair = next(s for s in SUBJECTS if s.op == "slerp")
    chosen.append(
        dataclasses.replace(pair, options=lambda size: {"t": torch.linspace(0, 1, POINTS)})
    )
    return chosen


def is_many_points(subject: Subject) -> bool:
    """Whether it is slerp with many points per pair."""
    return isinstance(subject.options(LAUNCH).get("t"), torch.Tensor)


def _sizes(subject: Subject, tiny: bool) -> tuple[Size, ...]:
    if tiny:
        return ((64,), (1000,)) if subject.elementwise else TINY
    if is_many_points(subject):
        return (LAUNCH, (65536, 64))
    if subject.op == "log_det_triangular":
        return MATRICES
    if kernels_of(subject.op) == "rational_quadratic_spline":
        return SPLINES
    return ELEMENTWISE if subject.elementwise else SIZES


def _of(subject: Subject, size: Size, rank: int) -> Iterator[Row]:
    dtypes = ["float32"]
    if size == HUGE and "bfloat16" in subject.dtypes:
        dtypes.append("bfloat16")
    directions = [FORWARD]
    if subject.op not in WITHOUT_GRADIENT:
        directions += [BACKWARD, *([BOTH] if rank == 0 else [])]
    for dtype in dtypes:
        for direction in directions:
            yield Row(subject, size, dtype, direction, 1)


def rows(
    *, tiny: bool = False, ranks: Sequence[int] | None = None, ops: Sequence[str] | None = None
) -> list[tuple[Row, str]]:
    """Every row with its note, ordered so that the run may stop after any row.

    First every op at its smallest size, where the cost of a call dominates; then every op at its
    largest size; then the others. `ranks` selects among these rounds, `ops` among the ops.
    """
    found: list[tuple[int, Row, str]] = []
    for subject in subjects():
        if ops and subject.op not in ops:
            continue
        note = f"{POINTS} points" if is_many_points(subject) else ""
        for rank, size in enumerate(_sizes(subject, tiny)):
            if ranks is None or rank in ranks:
                found += [(rank, row, note) for row in _of(subject, size, rank)]
    found.sort(key=lambda each: each[0])
    return [(row, note) for _, row, note in found]


def tensors_on(row: Row, device: str) -> Inputs:
    """A row's inputs, created on the device."""
    with torch.device(device):
        return row.tensors()

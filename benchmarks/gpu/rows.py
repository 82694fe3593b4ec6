"""The rows timed on a GPU: the subjects of ../registry.py at GPU sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from ..registry import SUBJECTS, Inputs, Row, Size, Subject

LAUNCH: Size = (64, 8)  # the fixed cost of a call dominates
NARROW: Size = (1048576, 6)
WIDE: Size = (8192, 784)
HUGE: Size = (65536, 1024)  # 64 Mi elements
# In the order in which `rows` yields them.
SIZES: tuple[Size, ...] = (LAUNCH, HUGE, WIDE, NARROW)
TINY: tuple[Size, ...] = ((64, 8), (16, 32))

ELEMENTWISE: tuple[Size, ...] = ((512,), (100_000_000,), (65536,), (1048576,))
MATRICES: tuple[Size, ...] = ((64, 8), (65536, 32))
POINTS = 16
# Ops that run the kernels of another op.
KERNELS_OF = {
    "log_det_triangular": "log_det_diagonal",
    "vmf_log_normalizer": "bessel",
    "vmf_mean_resultant": "bessel",
    "log_iv": "bessel",
    "vmf_sample": "vmf_sample_cosine",
}
# Forward and backward are timed together only at the LAUNCH size.
FORWARD, BACKWARD, BOTH = "forward", "backward", "forward+backward"
WITHOUT_GRADIENT = ("vmf_sample",)  # the peer's draws have no gradient


def _around(size: Size) -> Inputs:
    angle = torch.rand(size[0], dtype=torch.float64) * 3
    loc = torch.nn.functional.normalize(torch.randn(size[1], dtype=torch.float64), dim=0)
    return loc, angle.cos(), angle.sin()


def _mean(size: Size) -> Inputs:
    return _around(size)[0], torch.tensor(float(size[1]), dtype=torch.float64)


SAMPLERS = (
    Subject("tangent_normal", _around, options=lambda size: {"seed": torch.tensor(size[0])}),
    Subject("vmf_sample", _mean, options=lambda size: {"sample_shape": size[:1]}),
)


def subjects() -> list[Subject]:
    """The subjects of the registry, the samplers, and slerp with many points per pair."""
    # On a GPU, networks are torch's matrix products.
    chosen = [*(s for s in SUBJECTS if "mlp" not in s.op), *SAMPLERS]
    pair = next(s for s in SUBJECTS if s.op == "slerp")
    chosen.append(
        dataclasses.replace(pair, options=lambda size: {"t": torch.linspace(0, 1, POINTS)})
    )
    return chosen


def is_many_points(subject: Subject) -> bool:
    """Whether it is slerp with many points per pair."""
    return isinstance(subject.options(LAUNCH).get("t"), torch.Tensor)


def _sizes(subject: Subject, tiny: bool) -> tuple[Size, ...]:
    elementwise = KERNELS_OF.get(subject.op) == "bessel"
    if tiny:
        return ((64,), (1000,)) if elementwise else TINY
    if is_many_points(subject):
        return (LAUNCH, (65536, 64))
    if subject.op == "log_det_triangular":
        return MATRICES
    return ELEMENTWISE if elementwise else SIZES


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

"""What is timed on a GPU: the subjects of ../registry.py at a GPU's sizes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch

from ..registry import SUBJECTS, Inputs, Row, Size, Subject

LAUNCH: Size = (64, 8)  # the cost of a call is all there is
NARROW: Size = (1048576, 6)
WIDE: Size = (8192, 784)
HUGE: Size = (65536, 1024)  # 64 Mi elements
TINY: tuple[Size, ...] = ((64, 8), (16, 32))

ELEMENTWISE: tuple[Size, ...] = ((512,), (1048576,), (100_000_000,))
MATRICES: tuple[Size, ...] = ((64, 8), (65536, 32))
POINTS = 16
# The registry's op -> the name that the tests know it by.
TESTED_AS = {
    "affine_coupling_split": "affine_coupling",
    "log_det_triangular": "log_det_diagonal",
    "vmf_log_normalizer": "bessel",
    "vmf_mean_resultant": "bessel",
    "log_iv": "bessel",
    "vmf_sample": "tangent_normal",
}
DIRECTIONS = {"vmf_sample": ("forward",)}  # the draws of the peer have no gradient


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
    """The registry's, the samplers, and slerp with many points a pair."""
    # A network is torch's own matrix products there.
    chosen = [*(s for s in SUBJECTS if "mlp" not in s.op), *SAMPLERS]
    pair = next(s for s in SUBJECTS if s.op == "slerp")
    chosen.append(
        dataclasses.replace(pair, options=lambda size: {"t": torch.linspace(0, 1, POINTS)})
    )
    return chosen


def _sizes(subject: Subject, few: bool) -> tuple[Size, ...]:
    sizes: tuple[Size, ...] = (LAUNCH, NARROW, WIDE, HUGE)
    if TESTED_AS.get(subject.op) == "bessel":
        sizes = ELEMENTWISE
    elif subject.op == "log_det_triangular":
        sizes = MATRICES
    return (sizes[0], sizes[-1]) if few else sizes


def _tiny(subject: Subject) -> tuple[Size, ...]:
    return ((64,), (1000,)) if TESTED_AS.get(subject.op) == "bessel" else TINY


def rows(*, few: bool = False, tiny: bool = False) -> list[tuple[Row, str]]:
    """Every row and what sets it apart, the largest first: the time may not be enough for all.

    `few` leaves the smallest and the largest sizes.
    """
    found = list(_rows(few, tiny))
    found.sort(key=lambda each: -math.prod(each[0].size))
    return found


def _rows(few: bool, tiny: bool) -> Iterator[tuple[Row, str]]:
    for subject in subjects():
        many = isinstance(subject.options(LAUNCH).get("t"), torch.Tensor)
        note = f"{POINTS} points" if many else ""
        sizes = ((65536, 64),) if many else _sizes(subject, few)
        sizes = _tiny(subject) if tiny else sizes
        for size in sizes:
            dtypes = ["float32"]
            if size == HUGE and not few and "bfloat16" in subject.dtypes:
                dtypes.append("bfloat16")
            for dtype in dtypes:
                for direction in DIRECTIONS.get(subject.op, ("forward", "forward+backward")):
                    yield Row(subject, size, dtype, direction, 1), note


def tensors_on(row: Row, device: str) -> Inputs:
    """A row's inputs, made where they are needed."""
    with torch.device(device):
        return row.tensors()

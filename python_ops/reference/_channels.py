"""Channels along any dimension, those of a part, and sums of the log-dets of elements."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Formula = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def over_channels(
    formula: Formula, x: Tensor, params: Tensor, dim: int, reduction: str
) -> tuple[Tensor, Tensor]:
    """y and log_det of `formula`, which has channels along dim 1 and a log-det for each element."""
    y, log_dets = formula(x.movedim(dim, 1), params.movedim(dim, 1))
    y, log_dets = y.movedim(1, dim), log_dets.movedim(1, dim)
    if reduction == "row":
        return y, log_dets.flatten(1).sum(1)
    return y, log_dets.sum(dim) if reduction == "dim" else log_dets


def of_a_part(formula: Formula, count: int, transform: str) -> Formula:
    """`formula` of the first or the last channels, `count` parameters a channel."""

    def split(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        moved = params.shape[1] // count
        kept = x.shape[1] - moved
        first, second = x.split([moved, kept] if transform == "first" else [kept, moved], dim=1)
        y, log_dets = formula(first if transform == "first" else second, params)
        return torch.cat([y, second] if transform == "first" else [first, y], dim=1), log_dets

    return split

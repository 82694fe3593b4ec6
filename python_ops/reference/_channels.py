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


def places(channels: int, coupled: int, transform: str) -> tuple[list[int], list[int]]:
    """The channels that a coupling maps, and those that it keeps."""
    every = list(range(channels))
    match transform:
        case "first":
            mapped = every[:coupled]
        case "second":
            mapped = every[channels - coupled :]
        case "even":
            mapped = every[0::2]
        case "odd":
            mapped = every[1::2]
        case _:
            raise ValueError(f"unknown transform {transform!r}")
    chosen = set(mapped)
    return mapped, [i for i in every if i not in chosen]


def of_a_part(formula: Formula, count: int, transform: str) -> Formula:
    """`formula` of the channels that `transform` says, `count` parameters a channel."""

    def split(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        moved, _ = places(x.shape[1], params.shape[1] // count, transform)
        at = torch.tensor(moved, dtype=torch.long, device=x.device)
        y, log_dets = formula(x[:, at], params)
        return x.index_copy(1, at, y), log_dets

    return split

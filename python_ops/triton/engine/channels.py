"""Operands of ops on channels (B, C, *S), and which channels a coupling maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._extension import _C
from .refuse import FLOATING
from .rows import Rows, merged

OPTIONS = _C.options()  # the values of each, by name


@dataclass(frozen=True)
class Channels:
    """A tensor (B, C, *S) and its strides of rows, channels and positions in space.

    `channel` is the stride of the operand's channels, `one` that of the tensor's.
    """

    rows: Rows
    row: Any
    channel: Any
    step: Any
    one: Any = 0


def channels_of(shape: Sequence[Any], strides: Sequence[Any] | None, each: Any = 1) -> Channels:
    """An operand with one stride for all of its space; rare layouts are copied.

    The operand's channels are every `each`-th of the tensor's, as of a coupling's interleaved
    parameters.  Outputs (`strides` is None) are contiguous.
    """
    space = math.prod(shape[2:])
    step = None if strides is None else merged(shape[2:], strides[2:])
    if strides is None or step is None:
        rows = Rows(load=None if strides is None else Tensor.contiguous)
        return Channels(rows, shape[1] * space, space * each, 1, space)
    return Channels(Rows(), strides[0], strides[1] * each, step, strides[1])


def step_of(transform: str) -> int:
    """How far apart the channels lie that a coupling maps."""
    return 2 if transform in ("even", "odd") else 1


def starts_of(transform: str, coupled: Any, kept: Any) -> tuple[Any, Any]:
    """The first of the channels that a coupling maps, and of those that it keeps."""
    match transform:
        case "first":
            return 0, coupled
        case "second":
            return kept, 0
        case "even":
            return 0, 1
        case "odd":
            return 1, 0
    raise ValueError(f"unknown transform {transform!r}")


def has_channels(transform: str, channels: Any, coupled: Any) -> bool:
    """Whether a transform can map so many of the channels."""
    if step_of(transform) == 1:
        return bool(coupled <= channels)
    return bool(coupled == (channels + (transform == "even")) // 2)


def are_operands(
    x: Tensor, params: Tensor, parameters: int, transform: str, reduction: str
) -> bool:
    """Whether an op can map channels of `x` with so many parameters an element from `params`."""
    mixed = x.dtype != torch.float64 and params.dtype != torch.float64
    return bool(
        x.dtype in FLOATING
        and params.dtype in FLOATING
        and (x.dtype == params.dtype or mixed)
        and x.device == params.device
        and x.ndim >= 2
        and params.ndim == x.ndim
        and params.shape[0] == x.shape[0]
        and params.shape[2:] == x.shape[2:]
        and params.shape[1] % parameters == 0
        and transform in OPTIONS["transform"]
        and has_channels(transform, x.shape[1], params.shape[1] // parameters)
        and reduction in OPTIONS["reduction"]
    )


def log_det_shape(x: Tensor, coupled: Any, reduction: str) -> tuple[Any, ...]:
    """A number a row, or one for each mapped element."""
    return (x.shape[0],) if reduction == "row" else (x.shape[0], coupled, *x.shape[2:])

"""Runs of elements: all of a call's mapped channels in order, whatever their layout.

A program takes a run of elements; the programs after those copy the kept channels.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .channels import Channels, channels_of, starts_of, step_of
from .rows import TILE, ceil_div, power_of_two, warps

# ---- in kernels ------------------------------------------------------------------------


@triton.jit
def elements_of(k, n, space, COUNT: tl.constexpr, WIDE: tl.constexpr):
    """Run k of the elements of rows of n: (number of all, row, channel, position in space)."""
    first = tl.cast(k, tl.int64) * COUNT
    row = first // n
    # Within the program's first row, so that 32 bits do unless rows are so long.
    local = first - row * n
    if not WIDE:
        local = local.to(tl.int32)
    local += tl.arange(0, COUNT)
    line = local // n
    element = local - line * n
    channel = element // space
    position = (element - channel * space).to(tl.int64)
    return first + tl.arange(0, COUNT), row + line, channel.to(tl.int64), position


@triton.jit
def store_sums(to, k, total, values, COUNT: tl.constexpr, EACH: tl.constexpr):
    """Stores the sums of every `EACH` neighbours of run k's values; EACH divides the total."""
    count: tl.constexpr = COUNT // EACH
    number = tl.cast(k, tl.int64) * count + tl.arange(0, count)
    if EACH != 1:
        values = tl.sum(tl.reshape(values, [count, EACH]), axis=1)
    tl.store(to + number, values, mask=number < total // EACH)


@triton.jit
def copy_run(
    source, to, k, total, n, space, source_row, source_channel, source_step, to_row, to_channel,
    COUNT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Copies run k to rows whose channels are contiguous."""
    number, row, channel, position = elements_of(k, n, space, COUNT, WIDE)
    mask = number < total
    at = row * source_row + channel * source_channel + position * source_step
    value = tl.load(source + at, mask=mask)
    tl.store(to + (row * to_row + channel * to_channel + position), value, mask=mask)


# ---- of a call -------------------------------------------------------------------------


class Runs:
    """How a call is divided into runs of elements."""

    def __init__(self, x: Tensor, moved: Any, transform: str, per_element: int):
        """Of so many channels `moved`; a thread has `per_element` values of an element."""
        rows, self.space = x.shape[0], math.prod(x.shape[2:])
        kept = x.shape[1] - moved
        self.apart = step_of(transform)
        self.moved_channel, self.kept_channel = starts_of(transform, moved, kept)
        n, kept_n = moved * self.space, kept * self.space
        elements = power_of_two(rows * n, TILE // per_element)
        copied = power_of_two(rows * kept_n, TILE)
        self.runs = ceil_div(rows * n, elements)
        self.programs = self.runs + ceil_div(rows * kept_n, copied)
        # The largest power of two that divides a row and a run: a row's sums of so many elements.
        self.each = 1
        while n > 0 and n % (2 * self.each) == 0 and 2 * self.each <= elements:
            self.each *= 2
        self.sums = (rows, n // self.each)
        self.sizes = (rows * n, n, rows * kept_n, kept_n, self.space, self.runs)
        self.constants = {
            "ELEMENTS": elements,
            "COPIED": copied,
            # Whether a position in a row may need more than 32 bits.
            "WIDE": bool(x.shape[1] * self.space >= 2**30),
            "num_warps": warps(elements * per_element),
        }

    def operand(self, x: Tensor, strides: tuple[int, ...] | None) -> Channels:
        """The moved or the kept channels of a tensor shaped as x."""
        return channels_of(x.shape, strides, self.apart)

    def starts(self, o: Channels) -> tuple[Any, Any]:
        """Where the moved and the kept channels of an operand begin."""
        return self.moved_channel * o.one, self.kept_channel * o.one

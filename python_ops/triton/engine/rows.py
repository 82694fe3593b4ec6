"""Tensors as rows, and how large the blocks of rows are that a program takes.

Block sizes come from a few comparisons of sizes: no search, a handful of variants, and guards
instead of fixed sizes where torch.compile traces with symbolic shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TILE = 1024  # elements of a tile: two 16-byte accesses a thread and operand in float32
PROGRAMS = 1024  # enough to fill a large GPU


@dataclass(frozen=True)
class Rows:
    """A tensor as rows: the strides of rows and of elements, and what lays it out so."""

    line: Any = 0
    step: Any = 1
    load: Callable[[Tensor], Tensor | None] | None = None

    @property
    def strides(self) -> tuple[Any, Any]:
        """Both strides."""
        return self.line, self.step


def merged(sizes: Sequence[Any], strides: Sequence[Any], alone: Any = 1) -> Any:
    """The stride of some dimensions as one, None where they have none; `alone`: of one element."""
    step: Any = None
    following: Any = None
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size == 1:
            continue
        if step is None:
            step = stride
        elif stride != following:
            return None
        following = stride * size
    return alone if step is None else step


def rows_of(t: Tensor, batch: Sequence[Any], event: int = 1) -> Rows:
    """`t` (*batch, *event), its leading dimensions broadcast, as rows of its last `event` ones.

    What cannot be read with one stride of rows and one of elements is copied.
    """
    lead = t.ndim - event
    sizes, strides = t.shape[lead:], t.stride()
    n = math.prod(sizes)
    step = merged(sizes, strides[lead:])
    own = [0 if size == 1 else s for size, s in zip(t.shape[:lead], strides[:lead], strict=True)]
    line = merged(batch, [0] * (len(batch) - lead) + own, n)
    if step is None or line is None:
        whole = (*batch, *sizes)
        return Rows(n, 1, lambda given: given.expand(whole).contiguous())
    return Rows(line, step)


def contiguous(t: Tensor, dtype: torch.dtype | None = None) -> Rows:
    """`t` element after element, in `dtype`."""
    if dtype is not None and t.dtype != dtype:
        return Rows(load=lambda given: given.to(dtype).contiguous())
    return Rows(load=None if t.is_contiguous() else Tensor.contiguous)


def power_of_two(n: Any, limit: int) -> int:
    """The smallest power of two >= n, at most `limit`."""
    size = 1
    while size < limit and size < n:
        size *= 2
    return size


def ceil_div(n: Any, m: Any) -> Any:
    """The quotient, rounded up."""
    return (n + m - 1) // m


def parts_of(units: Any, tiles: Any) -> Any:
    """Programs for each of `units` sums over `tiles`: few long ones are divided.

    By the shape alone, so that a sum is the same on every device.
    """
    if units == 0 or units * 2 > PROGRAMS or tiles < 8:
        return 1
    parts = PROGRAMS // units
    return parts if parts * 4 < tiles else tiles // 4


def row_blocks(rows: Any, n: Any, double: bool, each: int) -> dict[str, int]:
    """Blocks of whole rows of n elements, for kernels with much to compute for each row.

    A row's first `ELEMENTS` stay in registers: less of them in float64, and few rows a thread.
    Every warp of a row computes the row's scalars, and sums over several warps go through shared
    memory: so where rows are many, a thread takes `each` elements, 32 in kernels that hold a tile
    or two (a float32 row of 1024 is then one warp's).  In float64 it takes half as many.
    """
    limit = 2048 if double else 4096
    elements = power_of_two(n, limit)
    lines = power_of_two(rows, max(min(TILE // elements, 64 if double else 128), 1))
    many = rows >= PROGRAMS and n <= limit
    thread = max(each // (2 if double else 1), 8) if many else 8
    return {
        "LINES": lines,
        "ELEMENTS": elements,
        "num_warps": max(warps(lines * elements, thread), power_of_two(lines // 32, 4)),
    }


class Blocks:
    """Blocks of rows of n elements, and the tiles of a row."""

    def __init__(
        self, batch: Sequence[Any], n: Any, dtype: torch.dtype, *, each: int, shift: int = 0
    ) -> None:
        self.rows, self.n = math.prod(batch), n
        self.constants = row_blocks(self.rows, n + shift, dtype == torch.float64, each)
        self.count = ceil_div(n + shift, self.constants["ELEMENTS"])

    @property
    def programs(self) -> Any:
        """One for each block."""
        return ceil_div(self.rows, self.constants["LINES"])

    @property
    def sizes(self) -> tuple[Any, Any, Any]:
        """Rows, elements and tiles of a row: a kernel's first numbers."""
        return self.rows, self.n, self.count


def warps(elements: int, thread: int = 8) -> int:
    """Warps for a tile of which a thread takes 8 elements: at least one, at most 16."""
    return power_of_two(elements // (32 * thread), 16)

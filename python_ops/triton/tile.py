"""What kernels share: tiles of a strided matrix, and how large to make them.

Every kernel works on tiles of two axes, `lines` x `elements`.  Block sizes come from
a few comparisons of sizes: no search, a handful of variants, and guards instead of
fixed sizes where torch.compile traces with symbolic shapes.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

TILE = 1024  # elements of a tile: two 16-byte accesses a thread and operand in float32
PROGRAMS = 1024  # enough to fill a large GPU


@triton.jit
def widen(x):
    """`x` in the type that is computed in."""
    if x.dtype == tl.float64:
        return x
    else:
        return x.to(tl.float32)


@triton.jit
def fetch(pointer, offsets, mask):
    """Elements in the type that is computed in; 0 outside the mask."""
    return widen(tl.load(pointer + offsets, mask=mask, other=0.0))


@triton.jit
def positions(block, n: tl.constexpr):
    """The n positions of a block, in 64 bits: products with strides pass 2^31."""
    return tl.cast(block, tl.int64) * n + tl.arange(0, n)


@triton.jit
def read_tile(pointer, line, there, k, n, line_stride, step, ELEMENTS: tl.constexpr):
    """Tile k of some lines: n elements `step` apart, where `there`; 0 elsewhere."""
    element = positions(k, ELEMENTS)[None, :]
    offsets = line[:, None] * line_stride + element * step
    return fetch(pointer, offsets, there[:, None] & (element < n))


@triton.jit
def write_tile(pointer, line, there, k, n, line_stride, value, ELEMENTS: tl.constexpr):
    """Writes tile k of contiguous lines."""
    element = positions(k, ELEMENTS)[None, :]
    mask = there[:, None] & (element < n)
    tl.store(pointer + (line[:, None] * line_stride + element), value, mask=mask)


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


def row_blocks(rows: Any, n: Any, double: bool) -> dict[str, int]:
    """Blocks of whole rows of n elements, for kernels with much to compute for each row.

    A row's first `ELEMENTS` stay in registers: less of them in float64, and few rows a thread.
    """
    elements = power_of_two(n, 2048 if double else 4096)
    lines = power_of_two(rows, max(min(TILE // elements, 64 if double else 128), 1))
    return {
        "LINES": lines,
        "ELEMENTS": elements,
        "num_warps": max(warps(lines * elements), power_of_two(lines // 32, 4)),
    }


def warps(elements: int) -> int:
    """Warps for a tile: 8 elements a thread, at least one warp."""
    return power_of_two(elements // 256, 16)

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


def warps(elements: int) -> int:
    """Warps for a tile: 8 elements a thread, at least one warp."""
    return power_of_two(elements // 256, 8)

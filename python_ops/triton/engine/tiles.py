"""Tiles of strided rows: every kernel works on tiles of two axes, `lines` x `elements`."""

from __future__ import annotations

import triton
import triton.language as tl


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

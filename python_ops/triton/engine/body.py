"""Rows of which each starts at another place in its 16 bytes, read and written 16 bytes at a time.

Triton accesses memory in vectors only where it can prove that they are aligned and wholly inside
a mask.  Rows of d + 1 elements, one after the other, are neither.  So a row is taken from its
*body*: the last multiple of VECTOR elements at or before it, `shift` elements earlier.  Whole
vectors are read, whatever of them belongs to the neighbours is replaced by 0, and the vectors
that lie wholly inside a row are written whole, its ends element by element.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .tiles import positions, widen


@triton.jit
def body_of(row, width, VECTOR: tl.constexpr):
    """(body, shift) of contiguous rows of `width` elements."""
    start = row * width
    body = start // VECTOR * VECTOR
    return body, start - body


@triton.jit
def places(k, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """The places of tile k, counted from the bodies, and those of their vectors."""
    place = positions(k, ELEMENTS)[None, :]
    return place, place // VECTOR * VECTOR


@triton.jit
def inside(place, shift, there, width):
    """Which places are the row's own."""
    return there[:, None] & (place >= shift[:, None]) & (place < (shift + width)[:, None])


@triton.jit
def read_body(
    pointer, body, shift, there, k, width, total, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr
):
    """Tile k of some rows of a tensor of `total` elements; 0 where it is not the row's."""
    place, vector = places(k, ELEMENTS, VECTOR)
    offset = body[:, None] + place
    end = body[:, None] + vector + VECTOR
    near = there[:, None] & (vector < (shift + width)[:, None])
    value = tl.load(pointer + offset, mask=near & (end <= total), other=0.0)
    if tl.max(body, axis=0) + (k + 1) * ELEMENTS > total:
        # The tensor may end within a vector: only in the program of the last row.
        rest = near & (end > total) & (offset < total)
        value = tl.where(rest, tl.load(pointer + offset, mask=rest, other=0.0), value)
    return widen(tl.where(inside(place, shift, there, width), value, 0.0))


@triton.jit
def read_beside(
    pointer, row, shift, there, k, width, line_stride, step,
    ELEMENTS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The same places of other rows, wherever those lie: element by element."""
    place, _ = places(k, ELEMENTS, VECTOR)
    offset = row[:, None] * line_stride + (place - shift[:, None]) * step
    own = inside(place, shift, there, width)
    return widen(tl.load(pointer + offset, mask=own, other=0.0))


@triton.jit
def write_body(
    pointer, body, shift, there, k, width, value, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr
):
    """Writes tile k of rows that lie as those that were read."""
    place, vector = places(k, ELEMENTS, VECTOR)
    after = (shift + width)[:, None]
    to = pointer + (body[:, None] + place)
    whole = there[:, None] & (vector >= shift[:, None]) & (vector + VECTOR <= after)
    tl.store(to, value, mask=whole)
    tl.store(to, value, mask=inside(place, shift, there, width) & (whole == 0))

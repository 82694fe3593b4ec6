"""Rows in kernels: tiles of `lines` x `elements`, sums over rows, and maps of their elements.

A row program has three parts, in the words of csrc/math: *sums* over the row, *coefficients* from
the sums, *elements* from tiles and coefficients.  An op writes the parts; the loops are here.  A
row's first tiles stay in registers from the sums to the elements; only rows longer than that are
read again.

    view    (pointer, stride of rows, stride of elements) of an operand
    block   the rows of a tile: their numbers, which of them there are, and where they begin

Triton accesses memory in vectors only where it can prove that they are aligned and wholly inside
a mask.  Rows one after the other of a length that is no multiple of 16 bytes are neither.  With
VECTOR > 1 such a row is taken from its *body*: the last multiple of VECTOR elements at or before
it, `shift` elements earlier.  Whole vectors are read, whatever of them belongs to the neighbours
is replaced by 0, and the vectors that lie wholly inside a row are written whole, its ends element
by element.  The views of such rows have no strides (None).
"""

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
def block_of(row, rows, n, VECTOR: tl.constexpr):
    """(row, which there are, body, shift, elements of all rows) of rows of n elements."""
    body = row * n // VECTOR * VECTOR
    return row, row < rows, body, row * n - body, tl.cast(rows, tl.int64) * n


@triton.jit
def places(k, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """The places of tile k, counted from the bodies, and those of their vectors."""
    place = positions(k, ELEMENTS)[None, :]
    return place, place // VECTOR * VECTOR


@triton.jit
def inside(place, block, n, VECTOR: tl.constexpr):
    """Which places are the row's own."""
    _, there, _, shift, _ = block
    if VECTOR == 1:
        return there[:, None] & (place < n)
    else:
        return there[:, None] & (place >= shift[:, None]) & (place < (shift + n)[:, None])


@triton.jit
def read_body(pointer, block, k, n, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Tile k of rows taken from their bodies."""
    _, there, body, shift, total = block
    place, vector = places(k, ELEMENTS, VECTOR)
    offset = body[:, None] + place
    end = body[:, None] + vector + VECTOR
    near = there[:, None] & (vector < (shift + n)[:, None])
    value = tl.load(pointer + offset, mask=near & (end <= total), other=0.0)
    if tl.max(body, axis=0) + (k + 1) * ELEMENTS > total:
        # The tensor may end within a vector: only in the program of the last row.
        rest = near & (end > total) & (offset < total)
        value = tl.where(rest, tl.load(pointer + offset, mask=rest, other=0.0), value)
    return widen(tl.where(inside(place, block, n, VECTOR), value, 0.0))


@triton.jit
def read(view, block, k, n, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Tile k of a view's rows of n elements; 0 where there is none."""
    pointer, line, step = view
    if line is None:
        return read_body(pointer, block, k, n, ELEMENTS, VECTOR)
    else:
        row, _, _, shift, _ = block
        place, _ = places(k, ELEMENTS, VECTOR)
        element = place if VECTOR == 1 else place - shift[:, None]
        offset = row[:, None] * line + element * step
        return fetch(pointer, offset, inside(place, block, n, VECTOR))


@triton.jit
def read_all(views, block, k, n, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Tile k of every view."""
    return [read(view, block, k, n, ELEMENTS, VECTOR) for view in views]


@triton.jit
def read_at(view, block, element):
    """One element of each row."""
    pointer, line, step = view
    return fetch(pointer, block[0] * line + element * step, block[1])


@triton.jit
def write(pointer, line, block, k, n, value, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Writes tile k of contiguous rows, `line` elements apart."""
    row, there, body, shift, _ = block
    place, vector = places(k, ELEMENTS, VECTOR)
    own = inside(place, block, n, VECTOR)
    if VECTOR == 1:
        tl.store(pointer + (row[:, None] * line + place), value, mask=own)
    else:
        to = pointer + (body[:, None] + place)
        last = vector + VECTOR <= (shift + n)[:, None]
        whole = there[:, None] & (vector >= shift[:, None]) & last
        tl.store(to, value, mask=whole)
        tl.store(to, value, mask=own & (whole == 0))


@triton.jit
def plus(a, b):
    """The sums of two lists."""
    out = ()
    for i in tl.static_range(len(a)):
        out = out + (a[i] + b[i],)  # type: ignore[assignment]
    return out


@triton.jit
def sum_row(
    TILES: tl.constexpr, SUMS: tl.constexpr, given, first, views, block, n, count,
    ELEMENTS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """SUMS(given, tiles) over the tiles of rows, of which the first are at hand."""
    total = SUMS(given, first)
    for k in range(1, count):
        total = plus(total, SUMS(given, TILES(views, block, k, n, ELEMENTS, VECTOR)))
    return total


@triton.jit
def write_all(outputs, block, k, n, values, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Writes tile k of each output: (pointer, stride of rows); further values are dropped."""
    for i in tl.static_range(len(outputs)):
        pointer, line = outputs[i]
        write(pointer, line, block, k, n, values[i], ELEMENTS, VECTOR)


@triton.jit
def map_row(
    TILES: tl.constexpr, MAP: tl.constexpr, given, first, views, outputs, block, n, count,
    ELEMENTS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Writes MAP(given, tiles) of the tiles of rows, of which the first are at hand."""
    write_all(outputs, block, 0, n, MAP(given, first), ELEMENTS, VECTOR)
    for k in range(1, count):
        tiles = TILES(views, block, k, n, ELEMENTS, VECTOR)
        write_all(outputs, block, k, n, MAP(given, tiles), ELEMENTS, VECTOR)

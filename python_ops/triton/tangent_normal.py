"""tangent_normal in Triton: points at given angles from an axis, in random directions across it.

The formulas are those of csrc/math/tangent_normal.h, the random numbers those of philox.py:
made on the fly, so that a point is written once and nothing else is.  The numbers of rows longer
than a tile are made twice.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import divide, ones_like, sqrt
from .engine.calls import Call, planned, sum_of_programs, sum_to
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import PROGRAMS, Blocks, ceil_div, contiguous, rows_of
from .engine.tiles import block_of, fetch, map_row, positions, read, read_at, sum_row
from .philox import normal_tile, row_keys

# ---- kernels ---------------------------------------------------------------------


@triton.jit
def axis(first):
    """(sign(m), sign(m) / (1 + |m|)) of the axis' first coordinate."""
    sign = tl.where(first < 0.0, -1.0, ones_like(first))
    return sign, divide(sign, tl.abs(first) + 1.0)


@triton.jit
def tiles_of(views, block, k, n, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Tile k of the normal numbers, of the axes, and of the gradient where there is one."""
    around = views[2]
    mean = read(views[3], around, k, n, ELEMENTS, VECTOR)
    value = normal_tile(views[0], views[1], k, n, mean.dtype, block[0].shape[0], ELEMENTS)
    tiles = (value, mean)
    for i in tl.static_range(4, len(views)):
        more = (read(views[i], block, k, n, ELEMENTS, VECTOR),)
        tiles = tiles + more  # type: ignore[assignment]
    return tiles


@triton.jit
def sums(given, tiles):
    """(v.v, v.m)"""
    value, mean = tiles
    return tl.sum(value * value, axis=1), tl.sum(value * mean, axis=1)


@triton.jit
def gradient_sums(given, tiles):
    """(v.v, v.m, v.g, m.g)"""
    value, mean, g = tiles
    square, dot = sums(given, (value, mean))
    return square, dot, tl.sum(value * g, axis=1), tl.sum(mean * g, axis=1)


@triton.jit
def points(given, tiles):
    gain, across = given
    return (tiles[1] * gain[:, None] + across[:, None] * tiles[0],)


@triton.jit
def gradients(given, tiles):
    of_normal, of_grad = given
    return (of_normal[:, None] * tiles[0] + of_grad[:, None] * tiles[2],)


@triton.jit
def forward_kernel(
    loc, cosine, sine, seeds, out, rows, n, count, loc_rows, rows_per_seed,
    loc_line, loc_step, cosine_step, sine_step,
    LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    block = block_of(positions(tl.program_id(0), LINES), rows, n, 1)
    row, there = block[0], block[1]
    key, number = row_keys(seeds, row, there, rows_per_seed)
    around = (row % loc_rows, there, row, row, rows)
    views = (key, number, around, (loc + loc_step, loc_line, loc_step))
    first = tiles_of(views, block, 0, n, ELEMENTS, 1)
    square, dot = sum_row(tiles_of, sums, row, first, views, block, n, count, ELEMENTS, 1)
    head = read_at((loc, loc_line, loc_step), around, 0)
    sign, c = axis(head)
    cosines = fetch(cosine, row * cosine_step, there).to(head.dtype)
    length = divide(fetch(sine, row * sine_step, there).to(head.dtype), sqrt(square))
    along = dot * length
    tl.store(out + row * (n + 1), head * cosines + along, mask=there)
    map_row(tiles_of, points, (cosines + c * along, -sign * length), first, views,
            ((out + 1, n + 1),), block, n, count, ELEMENTS, 1)  # fmt: skip


@triton.jit
def backward_kernel(
    grad, loc, cosine, sine, seeds, grad_loc, grad_cosine, grad_sine,
    rows, n, count, repeat, loc_rows, rows_per_seed,
    grad_line, grad_step, loc_line, loc_step, cosine_step, sine_step,
    SUM: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """SUM: loc's gradient is summed over a program's rows (count is 1), not that of each row."""
    total = tl.zeros([ELEMENTS], grad_loc.dtype.element_ty)
    total_head = tl.zeros([1], grad_loc.dtype.element_ty)
    for i in range(repeat):
        block = block_of(positions(tl.program_id(0) * repeat + i, LINES), rows, n, 1)
        row, there = block[0], block[1]
        key, number = row_keys(seeds, row, there, rows_per_seed)
        around = (row % loc_rows, there, row, row, rows)
        views = (key, number, around, (loc + loc_step, loc_line, loc_step),
                 (grad + grad_step, grad_line, grad_step))  # fmt: skip
        first = tiles_of(views, block, 0, n, ELEMENTS, 1)
        square, dot, grad_dot, loc_dot = sum_row(
            tiles_of, gradient_sums, row, first, views, block, n, count, ELEMENTS, 1
        )
        head = read_at((loc, loc_line, loc_step), around, 0)
        g0 = fetch(grad, row * grad_line, there)
        sign, c = axis(head)
        inverse = divide(ones_like(square), sqrt(square))
        length = fetch(sine, row * sine_step, there).to(head.dtype) * inverse
        along = dot * length
        turned = g0 + c * loc_dot
        cosines = fetch(cosine, row * cosine_step, there).to(head.dtype)
        tl.store(grad_cosine + row, head * g0 + loc_dot, mask=there)
        tl.store(grad_sine + row, inverse * (dot * turned - sign * grad_dot), mask=there)
        grad_head = g0 * cosines - loc_dot * along * c * c
        given = (length * turned, cosines + c * along)
        if SUM:
            total += tl.sum(gradients(given, first)[0], axis=0)
            total_head += tl.sum(grad_head, axis=0)
        else:
            tl.store(grad_loc + row * (n + 1), grad_head, mask=there)
            map_row(tiles_of, gradients, given, first, views, ((grad_loc + 1, n + 1),), block, n,
                    count, ELEMENTS, 1)  # fmt: skip
    if SUM:
        to = grad_loc + tl.program_id(0).to(tl.int64) * (n + 1)
        tl.store(to + tl.arange(0, 1), total_head)
        element = tl.arange(0, ELEMENTS)
        tl.store(to + 1 + element, total, mask=element < n)


# ---- the op ----------------------------------------------------------------------


def _check(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> None:
    """Raises where the arguments do not fit together."""
    tensors = (loc, cosine, sine)
    double = [t.dtype == torch.float64 for t in tensors]
    fits = (
        all(t.dtype in FLOATING for t in tensors)
        and all(t.device == loc.device for t in (*tensors, seed))
        and (all(double) or not any(double))
        and loc.ndim >= 1
        and loc.shape[-1] >= 2
        and sine.shape == cosine.shape
        and loc.ndim - 1 <= cosine.ndim
        and all(
            m == n or m == 1
            for m, n in zip(reversed(loc.shape[:-1]), reversed(cosine.shape), strict=False)
        )
        and seed.dtype == torch.int64
        and seed.ndim <= cosine.ndim
        and seed.shape == cosine.shape[: seed.ndim]
    )
    if not fits:
        refuse("tangent_normal", loc, cosine, sine, seed)


class _Points:
    """A call's arguments as rows, and their tiles."""

    def __init__(self, loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> None:
        _check(loc, cosine, sine, seed)
        shape = cosine.shape
        self.rows, self.n = math.prod(shape), loc.shape[-1] - 1
        self.wide = wide_of(loc.dtype)
        # Point r lies around axis r % axes.
        lacks = 0
        while lacks < loc.ndim - 1 and loc.shape[lacks] == 1:
            lacks += 1
        own = shape[len(shape) - (loc.ndim - 1 - lacks) :]
        self.axes = math.prod(own)
        around = rows_of(loc, (*loc.shape[:lacks], *own))
        cosines, sines = rows_of(cosine, shape, 0), rows_of(sine, shape, 0)
        blocks = Blocks(shape, self.n, self.wide, each=16)
        self.constants = blocks.constants
        self.constants["ELEMENTS"] = max(self.constants["ELEMENTS"], 2)  # numbers come in pairs
        if self.wide == torch.float64:  # whose random numbers take twice the registers
            self.constants["num_warps"] = min(2 * self.constants["num_warps"], 16)
        self.count, self.blocks = blocks.count, blocks.programs
        self.inputs = [around, cosines, sines, contiguous(seed)]
        self.counts = (self.axes, math.prod(shape[seed.ndim :]))
        self.strides = (*around.strides, cosines.line, sines.line)


@planned(tensors=4)
def tangent_normal(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> Call:
    """The points."""
    points = _Points(loc, cosine, sine, seed)
    return Call(
        forward_kernel, points.blocks, loc,
        inputs=points.inputs, outputs=[((*cosine.shape, points.n + 1), loc.dtype)],
        numbers=(points.rows, points.n, points.count, *points.counts, *points.strides),
        constants=points.constants,
    )  # fmt: skip


@planned(tensors=5)
def tangent_normal_backward(
    grad: Tensor, loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor
) -> Call:
    """The gradients of loc, cosine and sine; the seed's is 0."""
    points = _Points(loc, cosine, sine, seed)
    outputs = [((*cosine.shape, points.n + 1), loc.dtype)]
    check_gradients("tangent_normal", (grad,), outputs, loc, cosine, sine, seed)
    grads = rows_of(grad, cosine.shape)
    shared = points.axes == 1 and points.count == 1
    repeat = ceil_div(points.blocks, PROGRAMS) if shared else 1
    programs = ceil_div(points.blocks, repeat) if points.blocks != 0 else 0
    wide = points.wide
    locs: Any = (*cosine.shape, points.n + 1)
    of_loc = sum_to(locs, wide, loc)
    if shared:
        locs, of_loc = sum_of_programs(programs, wide, loc)
    by_row: list[tuple[Any, Any]] = [(cosine.shape, wide)] * 2
    steps = [of_loc, sum_to(*by_row[0], cosine), sum_to(*by_row[1], sine)]
    return Call(
        backward_kernel, programs, loc,
        inputs=[grads, *points.inputs],
        outputs=[(locs, wide), *by_row],
        numbers=(
            points.rows, points.n, points.count, repeat, *points.counts,
            *grads.strides, *points.strides,
        ),
        constants={"SUM": shared, **points.constants},
        finish=steps, zero_of=4,
    )  # fmt: skip

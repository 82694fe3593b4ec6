"""tangent_normal in Triton: points at given angles from an axis, in random directions across it.

The formulas are those of csrc/cpu/tangent_normal.cpp, the random numbers those of philox.py:
made on the fly, so that a point is written once and nothing else is.  A row's first tile of
numbers stays in registers; those of longer rows are made twice.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import divide, sqrt
from .engine.calls import Call, planned, sum_of_programs, sum_to
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import PROGRAMS, ceil_div, contiguous, row_blocks, rows_of
from .engine.tiles import fetch, positions, read_tile, write_tile
from .philox import normal_tile, row_keys

# ---- kernels ---------------------------------------------------------------------


@triton.jit
def axis(first):
    """(sign(m), sign(m) / (1 + |m|)) of the axis' first coordinate."""
    sign = tl.where(first < 0.0, -1.0, tl.zeros_like(first) + 1.0)
    return sign, divide(sign, tl.abs(first) + 1.0)


@triton.jit
def forward_kernel(
    loc, cosine, sine, seeds, out, rows, n, count, loc_rows, rows_per_seed,
    loc_line, loc_step, cosine_step, sine_step,
    LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    row = positions(tl.program_id(0), LINES)
    there = row < rows
    key, number = row_keys(seeds, row, there, rows_per_seed)
    line = row % loc_rows
    rest = loc + loc_step
    mean = read_tile(rest, line, there, 0, n, loc_line, loc_step, ELEMENTS)
    value = normal_tile(key, number, 0, n, mean.dtype, LINES, ELEMENTS)
    square = tl.sum(value * value, axis=1)
    dot = tl.sum(value * mean, axis=1)
    for k in range(1, count):
        more = normal_tile(key, number, k, n, mean.dtype, LINES, ELEMENTS)
        square += tl.sum(more * more, axis=1)
        more_mean = read_tile(rest, line, there, k, n, loc_line, loc_step, ELEMENTS)
        dot += tl.sum(more * more_mean, axis=1)
    first = fetch(loc, line * loc_line, there)
    sign, c = axis(first)
    cosines = fetch(cosine, row * cosine_step, there).to(first.dtype)
    length = divide(fetch(sine, row * sine_step, there).to(first.dtype), sqrt(square))
    along = dot * length
    gain, across = (cosines + c * along)[:, None], (-sign * length)[:, None]
    tl.store(out + row * (n + 1), first * cosines + along, mask=there)
    write_tile(out + 1, row, there, 0, n, n + 1, mean * gain + across * value, ELEMENTS)
    for k in range(1, count):
        more = normal_tile(key, number, k, n, mean.dtype, LINES, ELEMENTS)
        more_mean = read_tile(rest, line, there, k, n, loc_line, loc_step, ELEMENTS)
        write_tile(out + 1, row, there, k, n, n + 1, more_mean * gain + across * more, ELEMENTS)


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
    rest = loc + loc_step
    for i in range(repeat):
        row = positions(tl.program_id(0) * repeat + i, LINES)
        there = row < rows
        key, number = row_keys(seeds, row, there, rows_per_seed)
        line = row % loc_rows
        g = read_tile(grad + grad_step, row, there, 0, n, grad_line, grad_step, ELEMENTS)
        mean = read_tile(rest, line, there, 0, n, loc_line, loc_step, ELEMENTS)
        value = normal_tile(key, number, 0, n, mean.dtype, LINES, ELEMENTS)
        square = tl.sum(value * value, axis=1)
        dot = tl.sum(value * mean, axis=1)
        grad_dot = tl.sum(value * g, axis=1)
        loc_dot = tl.sum(mean * g, axis=1)
        for k in range(1, count):
            more = normal_tile(key, number, k, n, mean.dtype, LINES, ELEMENTS)
            more_mean = read_tile(rest, line, there, k, n, loc_line, loc_step, ELEMENTS)
            more_g = read_tile(grad + grad_step, row, there, k, n, grad_line, grad_step, ELEMENTS)
            square += tl.sum(more * more, axis=1)
            dot += tl.sum(more * more_mean, axis=1)
            grad_dot += tl.sum(more * more_g, axis=1)
            loc_dot += tl.sum(more_mean * more_g, axis=1)
        first = fetch(loc, line * loc_line, there)
        g0 = fetch(grad, row * grad_line, there)
        sign, c = axis(first)
        inverse = divide(tl.zeros_like(square) + 1.0, sqrt(square))
        length = fetch(sine, row * sine_step, there).to(first.dtype) * inverse
        along = dot * length
        turned = g0 + c * loc_dot
        cosines = fetch(cosine, row * cosine_step, there).to(first.dtype)
        tl.store(grad_cosine + row, first * g0 + loc_dot, mask=there)
        tl.store(grad_sine + row, inverse * (dot * turned - sign * grad_dot), mask=there)
        head = g0 * cosines - loc_dot * along * c * c
        of_normal, of_grad = (length * turned)[:, None], (cosines + c * along)[:, None]
        gradient = of_normal * value + of_grad * g
        if SUM:
            total += tl.sum(gradient, axis=0)
            total_head += tl.sum(head, axis=0)
        else:
            tl.store(grad_loc + row * (n + 1), head, mask=there)
            write_tile(grad_loc + 1, row, there, 0, n, n + 1, gradient, ELEMENTS)
            for k in range(1, count):
                more = normal_tile(key, number, k, n, mean.dtype, LINES, ELEMENTS)
                more_g = read_tile(
                    grad + grad_step, row, there, k, n, grad_line, grad_step, ELEMENTS
                )
                more = of_normal * more + of_grad * more_g
                write_tile(grad_loc + 1, row, there, k, n, n + 1, more, ELEMENTS)
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
        blocks = row_blocks(self.rows, self.n, self.wide == torch.float64)
        blocks["ELEMENTS"] = max(blocks["ELEMENTS"], 2)  # numbers are made in pairs
        if self.wide == torch.float64:  # whose random numbers take twice the registers
            blocks["num_warps"] = min(2 * blocks["num_warps"], 16)
        self.count = ceil_div(self.n, blocks["ELEMENTS"])
        self.blocks = ceil_div(self.rows, blocks["LINES"])
        self.inputs = [around, cosines, sines, contiguous(seed)]
        self.counts = (self.axes, math.prod(shape[seed.ndim :]))
        self.strides = (*around.strides, cosines.line, sines.line)
        self.constants: dict[str, Any] = blocks


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

"""vmf_log_prob and stereographic_vmf_log_prob in Triton: from a point to its density in one read.

The formulas are those of csrc/cpu/vmf.cpp and the headers it names:

  log p(x) = log C_p(0) + M(kappa) - kappa |x - loc|^2 / 2
  log p(z) = log p(psi(z)) + d log rho

A loc that all rows share gets its gradient as sums over the rows of a program, which a second
kernel adds up.

Points on the sphere are rows of d + 1 elements: where those start anywhere in 16 bytes, they are
taken from their bodies (engine/tiles.py).  A program's rows then lie VECTOR rows apart, all of them
shifted by the same number of elements, so that their gradients can be added.

A negative concentration gives NaN: to raise, the host would have to wait for the device.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bessel_plan import LOG_UNIFORM, plan_at
from .bessel_ratio import bessel_ratio_complement
from .engine.calls import Call, Planned, Step, sum_of_programs, sum_to
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import PROGRAMS, Blocks, Rows, ceil_div, contiguous, rows_of
from .engine.tiles import block_of, fetch, map_row, positions, read_all, read_at, sum_row
from .log_0f1 import bessel_peak
from .stereographic import point, scaled

# ---- rows ------------------------------------------------------------------------


@triton.jit
def projection(
    first, views, block, d, count, LATENT: tl.constexpr, ELEMENTS: tl.constexpr
):  # fmt: skip
    """(scale, factor, rho, last, log rho): s = factor (scale x), the identity for a point of S."""
    if LATENT:
        scale, square = scaled(first, views, block, d, count, ELEMENTS)
        factor, rho, last, log_rho = point(scale, square)
        return scale, factor, rho, last, log_rho
    else:
        one = tl.zeros([first[0].shape[0]], first[0].dtype) + 1.0
        return one, one, one, one, one


@triton.jit
def apart(given, tiles):
    """A tile of the point of the sphere, and its difference from loc."""
    s = given[1][:, None] * (given[0][:, None] * tiles[0])
    return s, s - tiles[1].to(s.dtype)


@triton.jit
def distances(given, tiles):
    """(|s - loc|^2, s.(s - loc))"""
    s, difference = apart(given, tiles)
    return tl.sum(difference * difference, axis=1), tl.sum(s * difference, axis=1)


@triton.jit
def gradients(given, tiles):
    """Of the point and of loc."""
    _, _, gain, slope, c = given
    s, difference = apart(given, tiles)
    return gain[:, None] * difference + slope[:, None] * s, c[:, None] * difference


@triton.jit
def views_of(
    x, loc, x_line, x_step, loc_line, loc_step, BESIDE: tl.constexpr, VECTOR: tl.constexpr
):  # fmt: skip
    """The points and their locs; BESIDE: locs do not lie as the points do."""
    if VECTOR == 1:
        return (x, x_line, x_step), (loc, loc_line, loc_step)
    elif BESIDE:
        return (x, None, None), (loc, loc_line, loc_step)
    else:
        return (x, None, None), (loc, None, None)


@triton.jit
def forward_kernel(
    x, loc, kappa, plan, out, rows, d, count,
    x_line, x_step, loc_line, loc_step, kappa_line,
    LATENT: tl.constexpr, TERMS: tl.constexpr,
    BESIDE: tl.constexpr, VECTOR: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    block = block_of(positions(tl.program_id(0), LINES), rows, d, VECTOR)
    row, there = block[0], block[1]
    views = views_of(x, loc, x_line, x_step, loc_line, loc_step, BESIDE, VECTOR)
    first = read_all(views, block, 0, d, ELEMENTS, VECTOR)
    scale, factor, _, last, log_rho = projection(first, views, block, d, count, LATENT, ELEMENTS)
    square, _ = sum_row(
        read_all, distances, (scale, factor), first, views, block, d, count, ELEMENTS, VECTOR
    )
    k = fetch(kappa, row * kappa_line, there).to(square.dtype)
    peak = bessel_peak(plan, k, TERMS)
    if LATENT:
        rest = last - read_at((loc, loc_line, loc_step), block, d).to(square.dtype)
        square += rest * rest
    density = tl.load(plan + LOG_UNIFORM) + (peak - k * (square * 0.5))
    if LATENT:
        density += log_rho * tl.cast(d, square.dtype)
    tl.store(out + row, tl.where(k < 0.0, float("nan"), density), mask=there)


@triton.jit
def backward_kernel(
    grad, x, loc, kappa, plan, grad_x, grad_loc, grad_kappa, rows, d, count, repeat,
    x_line, x_step, loc_line, loc_step, kappa_line,
    LATENT: tl.constexpr, LOC: tl.constexpr,
    TERMS: tl.constexpr,
    BESIDE: tl.constexpr, VECTOR: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """LOC: whether loc's gradient is of each row, the sum over a program's rows, or not wanted."""
    views = views_of(x, loc, x_line, x_step, loc_line, loc_step, BESIDE, VECTOR)
    width = d + 1 if LATENT else d
    outputs = ((grad_x, d), (grad_loc, width)) if LOC == "each" else ((grad_x, d),)
    total = tl.zeros([ELEMENTS], grad_kappa.dtype.element_ty)
    total_last = tl.zeros([1], grad_kappa.dtype.element_ty)
    for i in range(repeat):
        tile = tl.program_id(0) // VECTOR * repeat + i
        # Rows with the same shift, so that their gradients can be added.
        row = positions(tile, LINES) * VECTOR + tl.program_id(0) % VECTOR
        block = block_of(row, rows, d, VECTOR)
        there = block[1]
        first = read_all(views, block, 0, d, ELEMENTS, VECTOR)
        scale, factor, rho, last, _ = projection(first, views, block, d, count, LATENT, ELEMENTS)
        square, dot = sum_row(
            read_all, distances, (scale, factor), first, views, block, d, count, ELEMENTS, VECTOR
        )
        k = fetch(kappa, row * kappa_line, there).to(square.dtype)
        g = fetch(grad, row, there).to(square.dtype)
        c = g * k
        gain = -c
        slope = tl.zeros_like(c)
        if LATENT:
            # rho G + s (rho G_last - s.G - d g) with G = -c (s - loc)
            rest = last - read_at((loc, loc_line, loc_step), block, d).to(square.dtype)
            slope = c * dot - c * rho * rest - tl.cast(d, square.dtype) * g
            gain = -c * rho
            square += rest * rest
            if LOC == "each":
                tl.store(grad_loc + (row * width + d), c * rest, mask=there)
            if LOC == "sum":
                total_last += tl.sum(tl.where(there, c * rest, 0.0), axis=0)
        complement = bessel_ratio_complement(plan, k, TERMS)
        complement = tl.where(k < 0.0, float("nan"), complement)
        tl.store(grad_kappa + row, g * (complement - square * 0.5), mask=there)
        given = (scale, factor, gain, slope, c)
        map_row(
            read_all, gradients, given, first, views, outputs, block, d, count, ELEMENTS, VECTOR
        )
        if LOC == "sum":
            total += tl.sum(gradients(given, first)[1], axis=0)
    if LOC == "sum":
        to = grad_loc + tl.program_id(0).to(tl.int64) * width
        shift = tl.program_id(0).to(tl.int64) % VECTOR * d % VECTOR
        element = tl.arange(0, ELEMENTS) - shift
        tl.store(to + element, total, mask=(element >= 0) & (element < d))
        if LATENT:
            tl.store(to + d + tl.arange(0, 1), total_last)


# ---- the ops -----------------------------------------------------------------------


def _broadcast(a: torch.Size, b: torch.Size) -> bool:
    """Whether two shapes broadcast."""
    return all(m == n or m == 1 or n == 1 for m, n in zip(reversed(a), reversed(b), strict=False))


def _check(op: str, x: Tensor, loc: Tensor, kappa: Tensor, latent: bool) -> torch.Size:
    """The batch of a call whose arguments fit together."""
    extra = 1 if latent else 0
    double = [t.dtype == torch.float64 for t in (x, loc, kappa)]
    fits = (
        all(t.dtype in FLOATING and t.device == x.device for t in (x, loc, kappa))
        and (all(double) or not any(double))
        and x.ndim >= 1
        and x.shape[-1] + extra >= 2
        and loc.ndim >= 1
        and loc.shape[-1] == x.shape[-1] + extra
        and _broadcast(x.shape[:-1], loc.shape[:-1])
    )
    if fits:
        batch = torch.broadcast_shapes(x.shape[:-1], loc.shape[:-1])
        if _broadcast(batch, kappa.shape):
            return torch.broadcast_shapes(batch, kappa.shape)
    refuse(op, x, loc, kappa, True)


def _vector(points: Rows, rows: Any, n: Any, size: int) -> int:
    """Elements of 16 bytes where rows, one after the other, start anywhere in them; else 1.

    Short rows are not worth it: their tiles would grow by as much as they hold.
    """
    if rows < 2 or n < 64 or points.strides != (n, 1):
        return 1
    return 1 if n % 16 == 0 else 16 // size


class _Densities:
    """A call's arguments as rows, and their tiles."""

    def __init__(
        self, op: str, x: Tensor, loc: Tensor, kappa: Tensor, latent: bool, *, each: int
    ) -> None:
        self.batch = _check(op, x, loc, kappa, latent)
        self.rows, self.d = math.prod(self.batch), x.shape[-1]
        self.wide = wide_of(x.dtype)
        double = x.dtype == torch.float64
        points, locs = rows_of(x, self.batch), rows_of(loc, self.batch)
        kappas = rows_of(kappa, self.batch, 0)
        plan = plan_at(loc.shape[-1] / 2 - 1, double, x.device)
        self.vector = 1
        if not latent:
            self.vector = _vector(points, self.rows, self.d, x.element_size())
        self.blocks = Blocks(self.batch, self.d, x.dtype, each=each, shift=self.vector - 1)
        beside = loc.dtype != x.dtype or locs.strides != points.strides
        self.inputs, self.tables = [points, locs, kappas], (plan.memory,)
        self.strides = (*points.strides, *locs.strides, kappas.line)
        self.constants = {
            "LATENT": latent, "VECTOR": self.vector, "BESIDE": beside,
            **plan.constants, **self.blocks.constants,
        }  # fmt: skip


def _forward(op: str, latent: bool, x: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool) -> Call:
    call = _Densities(op, x, loc, kappa, latent, each=32)
    return Call(
        forward_kernel, call.blocks.programs, x,
        inputs=call.inputs, tables=call.tables, outputs=[(call.batch, call.wide)],
        numbers=(*call.blocks.sizes, *call.strides), constants=call.constants,
    )  # fmt: skip


def _backward(
    op: str, latent: bool, grad: Tensor, x: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool
) -> Call:
    call = _Densities(op, x, loc, kappa, latent, each=16 if latent else 8)
    check_gradients(op, (grad,), [(call.batch, call.wide)], x, loc, kappa, want_loc)
    width = loc.shape[-1]
    shared = loc.numel() == width and call.blocks.count == 1
    of_loc = ("sum" if shared else "each") if want_loc else "none"
    # Groups of rows with the same shift, each in blocks of its own.
    groups = ceil_div(ceil_div(call.rows, call.vector), call.constants["LINES"])
    repeat = ceil_div(groups * call.vector, PROGRAMS) if of_loc == "sum" else 1
    programs = call.vector * ceil_div(groups, repeat) if call.rows != 0 else 0
    of_points, of_rows = (*call.batch, call.d), (call.batch, call.wide)
    shape, dtype = loc.shape, loc.dtype
    locs: Any = (0,)
    finish_loc: Step = lambda none: none.new_zeros(shape, dtype=dtype)  # noqa: E731
    if of_loc == "sum":
        locs, finish_loc = sum_of_programs(programs, call.wide, loc)
    elif of_loc == "each":
        locs = (*call.batch, width)
        finish_loc = sum_to(locs, call.wide, loc)

    return Call(
        backward_kernel, programs, x,
        inputs=[contiguous(grad), *call.inputs], tables=call.tables,
        outputs=[(of_points, x.dtype), (locs, call.wide), of_rows],
        numbers=(*call.blocks.sizes, repeat, *call.strides),
        constants={"LOC": of_loc, **call.constants},
        finish=[sum_to(of_points, x.dtype, x), finish_loc, sum_to(*of_rows, kappa)],
    )  # fmt: skip


# (x, loc, kappa, whether loc's gradient is wanted): the log density of points on the sphere or of
# latents in R^d; the gradients of x, loc (zeros where not wanted) and kappa.
vmf_log_prob = Planned(partial(_forward, "vmf_log_prob", False), 3)
vmf_log_prob_backward = Planned(partial(_backward, "vmf_log_prob", False), 4)
stereographic_vmf_log_prob = Planned(partial(_forward, "stereographic_vmf_log_prob", True), 3)
stereographic_vmf_log_prob_backward = Planned(
    partial(_backward, "stereographic_vmf_log_prob", True), 4
)

"""vmf_log_prob and stereographic_vmf_log_prob in Triton: from a point to its density in one read.

The formulas are those of csrc/cpu/vmf.cpp and the headers it names:

  log p(x) = log C_p(0) + M(kappa) - kappa |x - loc|^2 / 2
  log p(z) = log p(psi(z)) + d log rho

A row's first tile of the point and of loc stays in registers.  A loc that all rows share
gets its gradient as sums over the rows of a program, which a second kernel adds up.

Points on the sphere are rows of d + 1 elements: where those start anywhere in 16 bytes, they are
taken from their bodies (body.py).  A program's rows then lie VECTOR rows apart, all of them shifted
by the same number of elements, so that their gradients can be added.

A negative concentration gives NaN: to raise, the host would have to wait for the device.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bessel_plan import LOG_UNIFORM, plan_at
from .bessel_ratio import bessel_ratio_complement
from .engine.body import body_of, read_beside, read_body, write_body
from .engine.calls import Call, Step, planned, sum_of_programs, sum_to
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import PROGRAMS, ceil_div, contiguous, row_blocks, rows_of
from .engine.tiles import fetch, positions, read_tile, write_tile
from .log_0f1 import bessel_peak
from .stereographic import point, row_sums

# ---- kernels ---------------------------------------------------------------------


@triton.jit
def projection(
    x, value, row, there, count, d, x_line, x_step, LATENT: tl.constexpr, ELEMENTS: tl.constexpr
):  # fmt: skip
    """(scale, factor, rho, last, log rho): s = factor (scale x), the identity for a point of S."""
    one = tl.zeros([value.shape[0]], value.dtype) + 1.0
    if LATENT:
        scale, square = row_sums(x, value, row, there, count, d, x_line, x_step, False, ELEMENTS)
        factor, rho, last, log_rho = point(scale, square)
        return scale[:, None], factor[:, None], rho, last, log_rho
    else:
        return one[:, None], one[:, None], one, one, one


@triton.jit
def on_sphere(value, scale, factor, LATENT: tl.constexpr):
    """A tile of the point of the sphere."""
    if LATENT:
        return factor * (scale * value)
    else:
        return value


@triton.jit
def program_rows(i, repeat, LINES: tl.constexpr, VECTOR: tl.constexpr):
    """The rows of a program's i-th turn."""
    tile = tl.program_id(0) // VECTOR * repeat + i
    return positions(tile, LINES) * VECTOR + tl.program_id(0) % VECTOR


@triton.jit
def read_points(
    x, row, there, k, d, rows, x_line, x_step, VECTOR: tl.constexpr, ELEMENTS: tl.constexpr
):  # fmt: skip
    """Tile k of the points, from where `write_points` would have it."""
    if VECTOR == 1:
        return read_tile(x, row, there, k, d, x_line, x_step, ELEMENTS)
    else:
        body, shift = body_of(row, d, VECTOR)
        return read_body(x, body, shift, there, k, d, rows * d, ELEMENTS, VECTOR)


@triton.jit
def read_means(
    loc, row, there, k, d, rows, loc_line, loc_step,
    BESIDE: tl.constexpr, VECTOR: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """The same places of loc; BESIDE: its rows do not lie as the points do."""
    if VECTOR == 1 or not BESIDE:
        return read_points(loc, row, there, k, d, rows, loc_line, loc_step, VECTOR, ELEMENTS)
    else:
        _, shift = body_of(row, d, VECTOR)
        return read_beside(loc, row, shift, there, k, d, loc_line, loc_step, ELEMENTS, VECTOR)


@triton.jit
def write_points(out, row, there, k, d, width, value, VECTOR: tl.constexpr, ELEMENTS: tl.constexpr):
    """Tile k of rows of `width` elements, of which there are d."""
    if VECTOR == 1:
        write_tile(out, row, there, k, d, width, value, ELEMENTS)
    else:
        body, shift = body_of(row, d, VECTOR)
        write_body(out, body, shift, there, k, d, value, ELEMENTS, VECTOR)


@triton.jit
def forward_kernel(
    x, loc, kappa, plan, out, rows, d, count,
    x_line, x_step, loc_line, loc_step, kappa_line,
    LATENT: tl.constexpr, DEBYE: tl.constexpr, SERIES: tl.constexpr, SQUARES: tl.constexpr,
    BESIDE: tl.constexpr, VECTOR: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    row = positions(tl.program_id(0), LINES)
    there = row < rows
    value = read_points(x, row, there, 0, d, rows, x_line, x_step, VECTOR, ELEMENTS)
    mean = read_means(
        loc, row, there, 0, d, rows, loc_line, loc_step, BESIDE, VECTOR, ELEMENTS
    ).to(value.dtype)  # fmt: skip
    scale, factor, _, last, log_rho = projection(
        x, value, row, there, count, d, x_line, x_step, LATENT, ELEMENTS
    )
    difference = on_sphere(value, scale, factor, LATENT) - mean
    square = tl.sum(difference * difference, axis=1)
    for k in range(1, count):
        more = read_points(x, row, there, k, d, rows, x_line, x_step, VECTOR, ELEMENTS)
        more_mean = read_means(
            loc, row, there, k, d, rows, loc_line, loc_step, BESIDE, VECTOR, ELEMENTS
        )
        more = on_sphere(more, scale, factor, LATENT) - more_mean.to(value.dtype)
        square += tl.sum(more * more, axis=1)
    k = fetch(kappa, row * kappa_line, there).to(value.dtype)
    peak = bessel_peak(plan, k, DEBYE, SERIES)
    if LATENT:
        rest = last - fetch(loc, row * loc_line + d * loc_step, there).to(value.dtype)
        square += rest * rest
    density = tl.load(plan + LOG_UNIFORM) + (peak - k * (square * 0.5))
    if LATENT:
        density += log_rho * tl.cast(d, value.dtype)
    tl.store(out + row, tl.where(k < 0.0, float("nan"), density), mask=there)


@triton.jit
def backward_kernel(
    grad, x, loc, kappa, plan, grad_x, grad_loc, grad_kappa, rows, d, count, repeat,
    x_line, x_step, loc_line, loc_step, kappa_line,
    LATENT: tl.constexpr, LOC: tl.constexpr,
    DEBYE: tl.constexpr, SERIES: tl.constexpr, SQUARES: tl.constexpr,
    BESIDE: tl.constexpr, VECTOR: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """LOC: whether loc's gradient is of each row, the sum over a program's rows, or not wanted."""
    total = tl.zeros([ELEMENTS], grad_kappa.dtype.element_ty)
    total_last = tl.zeros([1], grad_kappa.dtype.element_ty)
    for i in range(repeat):
        row = program_rows(i, repeat, LINES, VECTOR)
        there = row < rows
        value = read_points(x, row, there, 0, d, rows, x_line, x_step, VECTOR, ELEMENTS)
        mean = read_means(
            loc, row, there, 0, d, rows, loc_line, loc_step, BESIDE, VECTOR, ELEMENTS
        ).to(value.dtype)  # fmt: skip
        scale, factor, rho, last, _ = projection(
            x, value, row, there, count, d, x_line, x_step, LATENT, ELEMENTS
        )
        s = on_sphere(value, scale, factor, LATENT)
        difference = tl.where(there[:, None], s - mean, 0.0)
        square = tl.sum(difference * difference, axis=1)
        dot = tl.sum(s * difference, axis=1)
        for k in range(1, count):
            more = read_points(x, row, there, k, d, rows, x_line, x_step, VECTOR, ELEMENTS)
            more_mean = read_means(
                loc, row, there, k, d, rows, loc_line, loc_step, BESIDE, VECTOR, ELEMENTS
            )
            more = on_sphere(more, scale, factor, LATENT)
            difference_more = more - more_mean.to(value.dtype)
            square += tl.sum(difference_more * difference_more, axis=1)
            dot += tl.sum(more * difference_more, axis=1)
        k_ = fetch(kappa, row * kappa_line, there).to(value.dtype)
        g = fetch(grad, row, there).to(value.dtype)
        c = g * k_
        gain = -c
        slope = tl.zeros_like(c)
        width = d
        if LATENT:
            # rho G + s (rho G_last - s.G - d g) with G = -c (s - loc)
            rest = last - fetch(loc, row * loc_line + d * loc_step, there).to(value.dtype)
            slope = c * dot - c * rho * rest - tl.cast(d, value.dtype) * g
            gain = -c * rho
            square += rest * rest
            width = d + 1
            if LOC == "each":
                tl.store(grad_loc + (row * width + d), c * rest, mask=there)
            if LOC == "sum":
                total_last += tl.sum(tl.where(there, c * rest, 0.0), axis=0)
        complement = bessel_ratio_complement(plan, k_, DEBYE, SERIES)
        complement = tl.where(k_ < 0.0, float("nan"), complement)
        tl.store(grad_kappa + row, g * (complement - square * 0.5), mask=there)
        gain, slope, c = gain[:, None], slope[:, None], c[:, None]
        gradient = gain * difference + slope * s
        write_points(grad_x, row, there, 0, d, d, gradient, VECTOR, ELEMENTS)
        if LOC == "each":
            write_points(grad_loc, row, there, 0, d, width, c * difference, VECTOR, ELEMENTS)
        if LOC == "sum":
            total += tl.sum(c * difference, axis=0)
        for k in range(1, count):
            more = read_points(x, row, there, k, d, rows, x_line, x_step, VECTOR, ELEMENTS)
            more_mean = read_means(
                loc, row, there, k, d, rows, loc_line, loc_step, BESIDE, VECTOR, ELEMENTS
            )
            more = on_sphere(more, scale, factor, LATENT)
            difference_more = more - more_mean.to(value.dtype)
            gradient = gain * difference_more + slope * more
            write_points(grad_x, row, there, k, d, d, gradient, VECTOR, ELEMENTS)
            if LOC == "each":
                gradient = c * difference_more
                write_points(grad_loc, row, there, k, d, width, gradient, VECTOR, ELEMENTS)
    if LOC == "sum":
        width = d + 1 if LATENT else d
        to = grad_loc + tl.program_id(0).to(tl.int64) * width
        _, shift = body_of(tl.program_id(0).to(tl.int64) % VECTOR, d, VECTOR)
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


def _vector(x: Tensor, rows: int) -> int:
    """Elements of 16 bytes where rows, one after the other, start anywhere in them; else 1.

    Short rows are not worth it: their tiles would grow by as much as they hold.
    """
    if x.ndim < 2 or rows < 2 or x.shape[-1] < 64 or x.stride() != (x.shape[-1], 1):
        return 1
    return 1 if x.shape[-1] % 16 == 0 else 16 // x.element_size()


class _Densities:
    """A call's arguments as rows, and their tiles."""

    def __init__(self, op: str, x: Tensor, loc: Tensor, kappa: Tensor, latent: bool) -> None:
        self.batch = _check(op, x, loc, kappa, latent)
        self.rows, self.d = math.prod(self.batch), x.shape[-1]
        self.wide = wide_of(x.dtype)
        double = x.dtype == torch.float64
        points, locs = rows_of(x, self.batch), rows_of(loc, self.batch)
        kappas = rows_of(kappa, self.batch, 0)
        plan = plan_at(loc.shape[-1] / 2 - 1, double, x.device)
        vector = 1 if latent else _vector(x, self.rows)
        blocks = row_blocks(self.rows, self.d + vector - 1, double)
        beside = loc.dtype != x.dtype or loc.stride() != x.stride()
        self.count = ceil_div(self.d + vector - 1, blocks["ELEMENTS"])
        self.blocks = ceil_div(self.rows, blocks["LINES"])
        self.groups = vector  # of rows with the same shift
        self.group_blocks = ceil_div(ceil_div(self.rows, vector), blocks["LINES"])
        self.inputs, self.tables = [points, locs, kappas], (plan.memory,)
        self.strides = (*points.strides, *locs.strides, kappas.line)
        self.constants = {
            "LATENT": latent, **plan.constants, **blocks, "VECTOR": vector, "BESIDE": beside
        }  # fmt: skip


def _forward(op: str, x: Tensor, loc: Tensor, kappa: Tensor, latent: bool) -> Call:
    call = _Densities(op, x, loc, kappa, latent)
    return Call(
        forward_kernel, call.blocks, x,
        inputs=call.inputs, tables=call.tables, outputs=[(call.batch, call.wide)],
        numbers=(call.rows, call.d, call.count, *call.strides), constants=call.constants,
    )  # fmt: skip


def _backward(
    op: str, grad: Tensor, x: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool, latent: bool
) -> Call:
    call = _Densities(op, x, loc, kappa, latent)
    check_gradients(op, (grad,), [(call.batch, call.wide)], x, loc, kappa, want_loc)
    width = loc.shape[-1]
    shared = loc.numel() == width and call.count == 1
    of_loc = ("sum" if shared else "each") if want_loc else "none"
    repeat = ceil_div(call.group_blocks * call.groups, PROGRAMS) if of_loc == "sum" else 1
    programs = call.groups * ceil_div(call.group_blocks, repeat) if call.blocks != 0 else 0
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
        numbers=(call.rows, call.d, call.count, repeat, *call.strides),
        constants={"LOC": of_loc, **call.constants},
        finish=[sum_to(of_points, x.dtype, x), finish_loc, sum_to(*of_rows, kappa)],
    )  # fmt: skip


@planned(tensors=3)
def vmf_log_prob(x: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool) -> Call:
    """The log density of points on the sphere."""
    return _forward("vmf_log_prob", x, loc, kappa, False)


@planned(tensors=4)
def vmf_log_prob_backward(
    grad: Tensor, x: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool
) -> Call:
    """The gradients of x, loc (zeros where not wanted) and kappa."""
    return _backward("vmf_log_prob", grad, x, loc, kappa, want_loc, False)


@planned(tensors=3)
def stereographic_vmf_log_prob(z: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool) -> Call:
    """The log density of latents in R^d."""
    return _forward("stereographic_vmf_log_prob", z, loc, kappa, True)


@planned(tensors=4)
def stereographic_vmf_log_prob_backward(
    grad: Tensor, z: Tensor, loc: Tensor, kappa: Tensor, want_loc: bool
) -> Call:
    """The gradients of z, loc (zeros where not wanted) and kappa."""
    return _backward("stereographic_vmf_log_prob", grad, z, loc, kappa, want_loc, True)

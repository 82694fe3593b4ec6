"""slerp in Triton: a pair is read once, its angle computed once, and every point written.

The formulas are those of csrc/math/slerp.h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import atan2_quadrant, divide, sincos, sqrt
from .engine.calls import Call, planned, tracing
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import Blocks, Rows, contiguous, merged, rows_of
from .engine.tiles import (
    block_of,
    fetch,
    inside,
    map_row,
    positions,
    read,
    read_all,
    read_at,
    sum_row,
    write_all,
)
from .ranges import SLERP_ALONG, SLERP_PARALLEL

# ---- r, b's part across a ----------------------------------------------------------


@triton.jit
def pairs(views, block, k, d, ELEMENTS: tl.constexpr, VECTOR: tl.constexpr):
    """Tile k of a and of r: b less two multiples of a; where that is `lost`, `axis`' unit vector.

    Each step is rounded once, so that a small difference keeps its digits.  Behind them follow the
    tiles of further views.
    """
    step, refine, axis, lost = views[2]
    a, b = read_all(views[:2], block, k, d, ELEMENTS, VECTOR)
    r = tl.fma(-step[:, None], a, b)
    r = tl.fma(-refine[:, None], a, r)
    unit = (positions(k, ELEMENTS)[None, :] == axis[:, None]).to(a.dtype)
    tiles = (a, tl.where(lost[:, None], unit, r))
    for i in tl.static_range(3, len(views)):
        more = (read(views[i], block, k, d, ELEMENTS, VECTOR),)
        tiles = tiles + more  # type: ignore[assignment]
    return tiles


@triton.jit
def first_sums(given, tiles):
    """(x.x, x.y) of tiles x, y: (a.a, a.b)"""
    x, y = tiles
    return tl.sum(x * x, axis=1), tl.sum(x * y, axis=1)


@triton.jit
def residual_sums(given, tiles):
    """(a.r, r.r)"""
    a, r = tiles
    return tl.sum(a * r, axis=1), tl.sum(r * r, axis=1)


@triton.jit
def gradient_sums(given, tiles):
    """(G.a, G.r)"""
    a, r, g = tiles
    return tl.sum(g * a, axis=1), tl.sum(g * r, axis=1)


@triton.jit
def across(aa, ar, rr):
    """The square of r's part across a."""
    return rr - ar * divide(ar, tl.where(aa == 0.0, 1.0, aa))


@triton.jit
def is_parallel(aa, ab, ar, rr):
    """Whether b's part across a is too small to have a direction."""
    size = ab * divide(ab, tl.where(aa == 0.0, 1.0, aa))
    return across(aa, ar, rr) <= size * SLERP_PARALLEL[aa.dtype == tl.float64]


@triton.jit
def smallest(view, block, d, count, ELEMENTS: tl.constexpr):
    """(index, value) of the first of a row's smallest elements in magnitude."""
    least = tl.zeros([block[0].shape[0]], read_at(view, block, 0).dtype) + float("inf")
    axis = block[0] * 0
    for k in range(count):
        own = inside(positions(k, ELEMENTS)[None, :], block, d, 1)
        magnitude = tl.where(own, tl.abs(read(view, block, k, d, ELEMENTS, 1)), float("inf"))
        less = tl.min(magnitude, axis=1)
        at = tl.argmin(magnitude, axis=1).to(tl.int64) + k * ELEMENTS
        axis = tl.where(less < least, at, axis)
        least = tl.minimum(least, less)
    return axis, read_at(view, block, axis)


@triton.jit
def sums_of(both, block, d, count, ELEMENTS: tl.constexpr):
    """(aa, ab, ar, rr, antipodal, how r comes from a and b) of the views of a and b."""
    tiles = read_all(both, block, 0, d, ELEMENTS, 1)
    aa, ab = sum_row(read_all, first_sums, 0, tiles, both, block, d, count, ELEMENTS, 1)
    step = divide(ab, tl.where(aa == 0.0, 1.0, aa))
    refine = tl.zeros_like(step)
    axis = tl.zeros_like(block[0]) - 1
    lost = step != step
    lost = lost & (lost != lost)
    views = (both[0], both[1], (step, refine, axis, lost))
    tiles = pairs(views, block, 0, d, ELEMENTS, 1)
    ar, rr = sum_row(pairs, residual_sums, 0, tiles, views, block, d, count, ELEMENTS, 1)
    # r along a: take off what is left of a, and where nothing else is left, go by an axis.
    along = across(aa, ar, rr) <= rr * SLERP_ALONG
    antipodal = lost
    if tl.max(along.to(tl.int32), axis=0) > 0:
        parallel = is_parallel(aa, ab, ar, rr)
        refine = tl.where(along & (parallel == 0), divide(ar, tl.where(aa == 0.0, 1.0, aa)), 0.0)
        refined = (both[0], both[1], (step, refine, axis, lost))
        tiles = pairs(refined, block, 0, d, ELEMENTS, 1)
        ar, rr = sum_row(pairs, residual_sums, 0, tiles, refined, block, d, count, ELEMENTS, 1)
        still = across(aa, ar, rr) <= rr * SLERP_ALONG
        lost = along & (parallel | is_parallel(aa, ab, ar, rr) | still)
        antipodal = lost & (ab < 0.0)
        least, value = smallest(both[0], block, d, count, ELEMENTS)
        axis = tl.where(antipodal, least, axis)
        ar = tl.where(lost, tl.where(antipodal, value, 0.0), ar)
        rr = tl.where(lost, tl.where(antipodal, 1.0, tl.zeros_like(rr)), rr)
    return aa, ab, ar, rr, antipodal, (step, refine, axis, lost)


# ---- a pair and its points -----------------------------------------------------------


@triton.jit
def pair_of(aa, ab, ar, rr, antipodal):
    """What a pair's sums say; see SlerpPair.

    (inverse a, inverse b, slope, inverse n, sine, cosine, inverse sine, omega, complement,
    tilt, parallel)
    """
    aa_ = tl.where(aa == 0.0, 1.0, aa)
    inverse_aa = divide(aa_ * 0.0 + 1.0, aa_)
    slope = ar * inverse_aa
    nn = rr - ar * slope
    nn = tl.where(nn < 0.0, 0.0, nn)
    bb = nn + ab * (ab * inverse_aa)
    none = (aa == 0.0) | (bb == 0.0)
    n = sqrt(nn)
    length_a = sqrt(aa_)
    length_b = sqrt(bb)
    parallel = none | (nn == 0.0)
    inverse_a = tl.where(none, 0.0, length_a * inverse_aa)
    inverse_b = divide(bb * 0.0 + 1.0, tl.where(bb == 0.0, 1.0, length_b))
    inverse_b = tl.where(none | antipodal, 0.0, inverse_b)
    inverse_n = tl.where(parallel, 0.0, divide(nn * 0.0 + 1.0, tl.where(nn == 0.0, 1.0, n)))
    cosine = ab * inverse_a * inverse_b
    straight = none | antipodal
    acute = atan2_quadrant(
        tl.where(straight, 0.0, n * length_a), tl.where(straight, 1.0, tl.abs(ab))
    )
    obtuse = ab < 0.0
    rest = 3.14159265358979323846 - acute
    omega = tl.where(obtuse, rest, acute)
    complement = tl.where(obtuse, acute, rest)
    return (inverse_a, inverse_b, slope, inverse_n, n * inverse_b, cosine, length_b * inverse_n,
            omega, complement, ar * inverse_a, parallel)  # fmt: skip


@triton.jit
def part_of_angle(t, rest, omega, complement):
    """(sin, cos) of the fraction t = 1 - rest of the angle."""
    angle = t * omega
    beyond = angle > 1.57079632679489661923
    sine, cosine = sincos(tl.where(beyond, complement + rest * omega, angle))
    return sine, tl.where(beyond, -cosine, cosine)


@triton.jit
def fractions(t, number, row, j, there, t_line, t_step, like, NUMBER: tl.constexpr):
    """The fractions of point j: from memory, or one number for all."""
    if NUMBER:
        return tl.zeros_like(like) + tl.cast(number, like.dtype)
    else:
        return fetch(t, row * t_line + j * t_step, there).to(like.dtype)


# ---- kernels ---------------------------------------------------------------------


@triton.jit
def combination(given, tiles):
    """along a + across r"""
    return (given[0][:, None] * tiles[0] + given[1][:, None] * tiles[1],)


@triton.jit
def forward_kernel(
    a, b, t, y, number: tl.float64, rows, d, points, count,
    a_line, a_step, b_line, b_step, t_line, t_step, y_line,
    NUMBER: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    block = block_of(positions(tl.program_id(0), LINES), rows, d, 1)
    both = ((a, a_line, a_step), (b, b_line, b_step))
    aa, ab, ar, rr, antipodal, residual = sums_of(both, block, d, count, ELEMENTS)
    views = (both[0], both[1], residual)
    first = pairs(views, block, 0, d, ELEMENTS, 1)
    inverse_a, _, slope, inverse_n, _, _, _, omega, complement, _, _ = pair_of(
        aa, ab, ar, rr, antipodal
    )
    for j in range(points):
        fraction = fractions(t, number, block[0], j, block[1], t_line, t_step, omega, NUMBER)
        sine, cosine = part_of_angle(fraction, 1.0 - fraction, omega, complement)
        across_r = sine * inverse_n
        given = (cosine * inverse_a - slope * across_r, across_r)
        to = y + tl.cast(j, tl.int64) * d
        map_row(pairs, combination, given, first, views, ((to, y_line),), block, d, count,
                ELEMENTS, 1)  # fmt: skip


@triton.jit
def backward_kernel(
    grad_y, a, b, t, grad_a, grad_b, grad_t, weights, number: tl.float64, rows, d, points, count,
    g_line, g_point, g_step, a_line, a_step, b_line, b_step, t_line, t_step, out_line,
    NUMBER: tl.constexpr, CIRCLE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    block = block_of(positions(tl.program_id(0), LINES), rows, d, 1)
    row, there = block[0], block[1]
    both = ((a, a_line, a_step), (b, b_line, b_step))
    aa, ab, ar, rr, antipodal, residual = sums_of(both, block, d, count, ELEMENTS)
    views = (both[0], both[1], residual)
    a_tile, r_tile = pairs(views, block, 0, d, ELEMENTS, 1)
    (inverse_a, inverse_b, slope, inverse_n, sine_b, cosine_b, inverse_sine, omega, complement,
     tilt, parallel) = pair_of(aa, ab, ar, rr, antipodal)  # fmt: skip
    a_out = tl.zeros_like(a_tile)
    b_out = tl.zeros_like(a_tile)
    along_a = tl.zeros_like(aa)
    across_a = tl.zeros_like(aa)
    along_b = tl.zeros_like(aa)
    across_b = tl.zeros_like(aa)
    for j in range(points):
        fraction = fractions(t, number, row, j, there, t_line, t_step, omega, NUMBER)
        rest = 1.0 - fraction
        grads = (grad_y + tl.cast(j, tl.int64) * g_point, g_line, g_step)
        grad = read(grads, block, 0, d, ELEMENTS, 1)
        ga, gr = sum_row(
            pairs, gradient_sums, 0, (a_tile, r_tile, grad), (both[0], both[1], residual, grads),
            block, d, count, ELEMENTS, 1,
        )  # fmt: skip
        sine, cosine = part_of_angle(fraction, rest, omega, complement)
        rest_sine, _ = part_of_angle(rest, fraction, omega, complement)
        w0 = rest_sine * inverse_sine
        w1 = sine * inverse_sine
        if CIRCLE:  # nothing is across the arc, and rounding must not be amplified
            w0 = tl.zeros_like(w0)
            w1 = tl.zeros_like(w1)
        w0 = tl.where(parallel, rest, w0)
        w1 = tl.where(parallel, fraction, w1)
        if not CIRCLE:
            w0 = tl.where(antipodal, cosine - sine * tilt * inverse_n, w0)
            w1 = tl.where(antipodal, 0.0, w1)
        g_a = ga * inverse_a
        g_e = (gr - slope * ga) * inverse_n
        g_y = g_e * cosine - g_a * sine
        weight_a = inverse_a * w0
        weight_b = inverse_b * w1
        part = inverse_a * inverse_n * (tl.where(antipodal, 1.0, rest) * g_y - w0 * g_e)
        across_a += part
        along_a -= weight_a * g_a * inverse_a + slope * part
        part = inverse_b * inverse_n * (fraction * g_y * cosine_b - w1 * g_e)
        across_b += part
        along_b -= inverse_b * inverse_a * (w1 * g_a + fraction * g_y * sine_b) + slope * part
        tl.store(grad_t + (row * points + j), omega * g_y, mask=there)
        a_out += weight_a[:, None] * grad
        b_out += weight_b[:, None] * grad
        if count > 1:
            tl.store(weights + (row * points + j) * 2, weight_a, mask=there)
            tl.store(weights + (row * points + j) * 2 + 1, weight_b, mask=there)
    a_out += combination((along_a, across_a), (a_tile, r_tile))[0]
    b_out += combination((along_b, across_b), (a_tile, r_tile))[0]
    outputs = ((grad_a, out_line), (grad_b, out_line))
    write_all(outputs, block, 0, d, (a_out, b_out), ELEMENTS, 1)
    if count > 1:
        tl.debug_barrier()  # the weights are written
        for k in range(1, count):
            tiles = pairs(views, block, k, d, ELEMENTS, 1)
            a_more = combination((along_a, across_a), tiles)[0]
            b_more = combination((along_b, across_b), tiles)[0]
            for j in range(points):
                source = grad_y + tl.cast(j, tl.int64) * g_point
                grad = read((source, g_line, g_step), block, k, d, ELEMENTS, 1)
                at = weights + (row * points + j) * 2
                a_more += fetch(at, 0, there)[:, None] * grad
                b_more += fetch(at, 1, there)[:, None] * grad
            write_all(outputs, block, k, d, (a_more, b_more), ELEMENTS, 1)


# ---- the op ----------------------------------------------------------------------


def _check(a: Tensor, b: Tensor, t: Tensor) -> None:
    if not (
        a.dtype in FLOATING
        and b.dtype == a.dtype
        and t.dtype in FLOATING
        and a.device == b.device
        and (t.ndim == 0 or t.device == a.device)
        and a.ndim >= 1
        and a.shape[-1] >= 1
        and a.shape == b.shape
        and (t.ndim <= 1 or (t.ndim == a.ndim and t.shape[:-1] == a.shape[:-1]))
    ):
        refuse("slerp", a, b, t)


class _Pairs:
    """A call's tensors as rows, and their tiles."""

    def __init__(self, a: Tensor, b: Tensor, t: Tensor) -> None:
        _check(a, b, t)
        batch, self.d = a.shape[:-1], a.shape[-1]
        self.rows = math.prod(batch)
        self.points = 1 if t.ndim == 0 else t.shape[-1]
        self.a, self.b = rows_of(a, batch), rows_of(b, batch)
        # A number lies on the CPU: its value travels with the launch.
        number = t.device != a.device and not tracing()
        if number:
            self.t = Rows(load=lambda given: None)
        elif t.device != a.device:
            device = a.device
            self.t = Rows(load=lambda given: given.to(device))
        elif t.ndim < 2:
            self.t = Rows(0, t.stride(0) if t.ndim == 1 else 0)
        else:
            self.t = rows_of(t, batch)
        blocks = Blocks(batch, self.d, a.dtype, each=16)
        self.count = blocks.count
        self.programs = blocks.programs if self.points != 0 else 0
        self.constants: dict[str, Any] = {"NUMBER": number, **blocks.constants}
        self.value = () if number else (0.0,)
        self.sizes = (self.rows, self.d, self.points, self.count)
        self.strides = (*self.a.strides, *self.b.strides, *self.t.strides)
        self.y_shape = a.shape if t.ndim == 0 else (*batch, self.points, self.d)


@planned(tensors=3)
def slerp(a: Tensor, b: Tensor, t: Tensor) -> Call:
    """The points: (*batch, D) where `t` has no dimension, else (*batch, T, D)."""
    pairs = _Pairs(a, b, t)
    return Call(
        forward_kernel, pairs.programs, a,
        inputs=[pairs.a, pairs.b, pairs.t], outputs=[(pairs.y_shape, a.dtype)],
        value_of=2 if pairs.constants["NUMBER"] else None,
        numbers=(*pairs.value, *pairs.sizes, *pairs.strides, pairs.points * pairs.d),
        constants=pairs.constants,
    )  # fmt: skip


@planned(tensors=4)
def slerp_backward(grad_y: Tensor, a: Tensor, b: Tensor, t: Tensor) -> Call:
    """The gradients of a, b and t; that of `t` summed over the pairs that share it."""
    pairs = _Pairs(a, b, t)
    check_gradients("slerp", (grad_y,), [(pairs.y_shape, a.dtype)], a, b, t)
    lead = a.ndim - 1
    line = merged(grad_y.shape[:lead], grad_y.stride()[:lead], pairs.points * pairs.d)
    if line is None:
        grads, strides = contiguous(grad_y), (pairs.points * pairs.d, pairs.d, 1)
    else:
        point = 0 if t.ndim == 0 else grad_y.stride(-2)
        grads, strides = Rows(), (line, point, grad_y.stride(-1))
    wide = wide_of(a.dtype)
    of_points = ((pairs.rows, pairs.points), wide)
    # Rows of one tile have no use for the weights of their points.
    unused = pairs.count == 1 and not tracing()
    weights = None if unused else ((pairs.rows, pairs.points, 2), wide)
    none, shape, dtype = pairs.points == 0, t.shape, t.dtype
    elsewhere = t.device != a.device

    def finish(tensors: Sequence[Tensor], outputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        grad_a, grad_b, grad_t = outputs[:3]
        if none:
            return grad_a.zero_(), grad_b.zero_(), torch.zeros_like(tensors[3])
        if elsewhere and not tensors[3].requires_grad:
            # Nobody asks, and fetching it would wait for the GPU.
            return grad_a, grad_b, torch.zeros_like(tensors[3])
        if len(shape) == 0:
            grad_t = grad_t.sum()
        elif len(shape) == 1:
            grad_t = grad_t.sum(0)
        else:
            grad_t = grad_t.view(shape)
        if grad_t.dtype != dtype or elsewhere:
            grad_t = grad_t.to(dtype=dtype, device=tensors[3].device)
        return grad_a, grad_b, grad_t

    return Call(
        backward_kernel, pairs.programs, a,
        inputs=[grads, pairs.a, pairs.b, pairs.t],
        outputs=[(a.shape, a.dtype), (b.shape, b.dtype), of_points, weights],
        value_of=3 if pairs.constants["NUMBER"] else None,
        numbers=(
            *pairs.value, *pairs.sizes, *strides, *pairs.strides, pairs.d,
        ),
        constants={"CIRCLE": pairs.d == 2, **pairs.constants},
        finish=finish,
    )  # fmt: skip

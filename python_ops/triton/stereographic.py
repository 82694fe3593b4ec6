"""stereographic and stereographic_inverse in Triton: a row is read once and written once.

The formulas are those of csrc/math/stereographic.h: out_i = gain g_i + slope (scale x_i), with
coefficients from a row's sums |scale x|^2 and (scale x).g.  In the inverse all of s may have
another factor besides, `unit`, which changes nothing but the length of the gradient.

|x|^2 is summed in float64, one multiplication an element: |x|^2 - 1 keeps its digits
next to the equator, and no float32 row overflows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import divide, log1p, ones_like, sqrt
from .engine.calls import Call, Planned
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import Blocks, rows_of
from .engine.tiles import block_of, fetch, map_row, positions, read_all, read_at, sum_row
from .ranges import LARGEST, PROJECTION_LARGEST, PROJECTION_LIFT, PROJECTION_SQUARE

# ---- sums ------------------------------------------------------------------------


@triton.jit
def lift_of(largest, INVERSE: tl.constexpr):
    """The power of two that keeps squares of a float64 row finite; in the inverse also above 0."""
    lift = tl.where(largest > PROJECTION_LARGEST, PROJECTION_LIFT, ones_like(largest))
    if INVERSE:
        lift = tl.where(largest < 1.0 / PROJECTION_LARGEST, 1.0 / PROJECTION_LIFT, lift)
    return lift


@triton.jit
def power_of_two(exponent, MOST: tl.constexpr):
    """2^exponent in float64, of an exponent from -MOST to MOST."""
    exponent = tl.minimum(tl.maximum(exponent, -MOST), MOST)
    return ((exponent + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def exponent_of(x):
    """That of a float64 number >= 0."""
    return (x.to(tl.int64, bitcast=True) >> 52) - 1023


@triton.jit
def reciprocal_power(x, DTYPE: tl.constexpr):
    """A power of two about 1 / x, normal in DTYPE; 1 where x is 0, infinite or NaN."""
    power = power_of_two(-exponent_of(x), 126 if DTYPE == tl.float32 else 1022)
    return tl.where((x > 0.0) & (x < float("inf")), power, 1.0)


@triton.jit
def scale_of(square, lift, DTYPE: tl.constexpr):
    """(scale, |scale x|^2) from |lift x|^2: 1 but where products would leave the normal numbers.

    Then |scale x| is about 1.
    """
    root = power_of_two(-(exponent_of(square) >> 1), 126 if DTYPE == tl.float32 else 1022)
    far = (square > PROJECTION_SQUARE[DTYPE == tl.float64]) | (lift != 1.0)
    far = far & (square < float("inf"))
    scale = tl.where(far, root * lift, 1.0).to(DTYPE)
    return scale, tl.where(far, square * root * root, square)


@triton.jit
def inverse_scale_of(square, lift, last, DTYPE: tl.constexpr):
    """(scale, unit, |scale unit h|^2, unit l) of s = [h, l], from |lift h|^2.

    Both factors are 1 but where products would leave the normal numbers: `unit` brings |s| to
    about 1, then `scale` |h|.
    """
    limit: tl.constexpr = PROJECTION_SQUARE[DTYPE == tl.float64]
    drop = 1.0 / lift
    last = last.to(tl.float64)
    height = power_of_two(exponent_of(square) >> 1, 1022) * drop  # about |h|
    height = tl.where((square > 0.0) & (square < float("inf")), height, square)
    whole = (square * drop) * drop + last * last
    unit = reciprocal_power(tl.maximum(height, tl.abs(last)), DTYPE)
    unit = tl.where((whole > limit) | (whole < 1.0 / limit), unit, 1.0)
    down = unit * drop
    short = ((square * down) * down < 1.0 / limit) & (square > 0.0)
    total = tl.where(short, reciprocal_power(height, DTYPE), unit)
    down = total * drop
    scale = (total / unit).to(DTYPE)
    return scale, unit.to(DTYPE), (square * down) * down, (last * unit).to(DTYPE)


# ---- coefficients ----------------------------------------------------------------


@triton.jit
def point(scale, square):
    """(factor, rho, last, log rho) of the image; z rho = factor (scale z)."""
    near = scale == 1.0
    excess = (square - 1.0).to(scale.dtype)
    square = square.to(scale.dtype)
    denominator = tl.where(near, excess + 2.0, square)
    factor = divide(2.0 + denominator * 0.0, denominator) * scale
    last = tl.where(near, divide(excess, denominator), 1.0)
    # Near |z| = 1 the logarithm goes through 0: log1p of the excess keeps its digits.
    log_rho = -log1p(tl.where(near, excess * 0.5, square * 0.5 - 1.0))
    return factor, factor * scale, last, log_rho + 2.0 * tl.log(scale)


@triton.jit
def preimage(scale, unit, square, last):
    """(N, factor, 1 / (N - l), turn) of unit s = [h, l]; z = factor (scale h).

    In the form for l's sign: N - l, or |h|^2 / (N + l) where that would cancel.
    """
    unscale = divide(1.0 + scale * 0.0, scale)
    square = square.to(scale.dtype)
    south = last < 0.0
    length = sqrt((square * unscale) * unscale + last * last)
    beyond = length + tl.abs(last)
    ratio = divide(tl.where(south, 1.0, beyond), tl.where(south, beyond, square))
    factor = ratio * tl.where(south, unscale, scale)
    inverse = tl.where(south, ratio, factor * scale)
    # `unit` times it is at most the largest finite number.
    largest = divide(ones_like(unit) * LARGEST[scale.dtype == tl.float64], tl.maximum(unit, 1.0))
    inverse = tl.where(inverse > largest, largest, inverse)
    return length, factor, inverse, tl.where(south, factor * unscale, ratio)


@triton.jit
def inverse_log_rho(scale, square, last, length):
    """log(1 - l / N), which is |h|^2 / (N (N + l)) next to the north pole."""
    cosine = divide(last, length)
    polar = cosine > 0.5
    ratio = divide(square.to(scale.dtype), tl.where(polar, length * (length + last), 1.0))
    near_pole = tl.log(tl.where(polar, ratio, 1.0)) - 2.0 * tl.log(scale)
    return tl.where(polar, near_pole, log1p(-tl.where(polar, 0.0, cosine)))


# ---- rows ------------------------------------------------------------------------


@triton.jit
def largest_of(given, tiles):
    return (tl.max(tl.abs(tiles[0]), axis=1),)


@triton.jit
def squares(lift, tiles):
    lifted = tiles[0].to(tl.float64) * lift[:, None]
    return (tl.sum(lifted * lifted, axis=1),)


@triton.jit
def products(scale, tiles):
    return (tl.sum(scale[:, None] * tiles[0] * tiles[1], axis=1),)


@triton.jit
def image(given, tiles):
    slope, scale = given
    return (slope[:, None] * (scale[:, None] * tiles[0]),)


@triton.jit
def gradient(given, tiles):
    gain, slope, scale = given
    return (gain[:, None] * tiles[1] + slope[:, None] * (scale[:, None] * tiles[0]),)


@triton.jit
def lifted(first, views, block, d, count, INVERSE: tl.constexpr, ELEMENTS: tl.constexpr):
    """(lift, |lift x|^2) of rows, the first of `views`."""
    value = first[0]
    lift = tl.zeros([value.shape[0]], tl.float64) + 1.0
    if value.dtype == tl.float64:
        largest = largest_of(lift, first)[0]
        for k in range(1, count):
            more = read_all(views, block, k, d, ELEMENTS, 1)
            largest = tl.maximum(largest, largest_of(lift, more)[0])
        lift = lift_of(largest, INVERSE)
    return lift, sum_row(read_all, squares, lift, first, views, block, d, count, ELEMENTS, 1)[0]


@triton.jit
def scaled(first, views, block, d, count, ELEMENTS: tl.constexpr):
    """`scale_of` rows, the first of `views`."""
    lift, square = lifted(first, views, block, d, count, False, ELEMENTS)
    return scale_of(square, lift, first[0].dtype)


@triton.jit
def inverse_scaled(first, views, block, d, count, ELEMENTS: tl.constexpr):
    """`inverse_scale_of` rows, the first of `views`, whose last elements are beyond their tiles."""
    lift, square = lifted(first, views, block, d, count, True, ELEMENTS)
    return inverse_scale_of(square, lift, read_at(views[0], block, d), first[0].dtype)


@triton.jit
def forward_kernel(
    x, out, log_det, rows, d, count, x_line, x_step, out_line,
    INVERSE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    block = block_of(positions(tl.program_id(0), LINES), rows, d, 1)
    row, there = block[0], block[1]
    views = ((x, x_line, x_step),)
    first = read_all(views, block, 0, d, ELEMENTS, 1)
    if INVERSE:
        scale, unit, square, last = inverse_scaled(first, views, block, d, count, ELEMENTS)
        length, slope, _, _ = preimage(scale, unit, square, last)
        log_rho = -inverse_log_rho(scale, square, last, length)
        scale *= unit
    else:
        scale, square = scaled(first, views, block, d, count, ELEMENTS)
        slope, _, last, log_rho = point(scale, square)
        tl.store(out + (row * out_line + d), last, mask=there)
    tl.store(log_det + row, log_rho * tl.cast(d, scale.dtype), mask=there)
    map_row(read_all, image, (slope, scale), first, views, ((out, out_line),), block, d, count,
            ELEMENTS, 1)  # fmt: skip


@triton.jit
def backward_kernel(
    grad_out, grad_log_det, x, grad_x, rows, d, count,
    g_line, g_step, log_det_line, x_line, x_step, out_line,
    INVERSE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    block = block_of(positions(tl.program_id(0), LINES), rows, d, 1)
    row, there = block[0], block[1]
    views = ((x, x_line, x_step), (grad_out, g_line, g_step))
    first = read_all(views, block, 0, d, ELEMENTS, 1)
    if INVERSE:
        scale, unit, square, last = inverse_scaled(first, views, block, d, count, ELEMENTS)
        total = unit * scale
    else:
        scale, square = scaled(first, views, block, d, count, ELEMENTS)
        total = scale
    dot = sum_row(read_all, products, total, first, views, block, d, count, ELEMENTS, 1)[0]
    log_det = fetch(grad_log_det, row * log_det_line, there) * tl.cast(d, scale.dtype)
    if INVERSE:
        # grad_h = g / (N - l) - z (z.g) / N - z d (l / N^2) g_logdet
        length, factor, gain, turn = preimage(scale, unit, square, last)
        per_length = divide(ones_like(length), length)
        log_det *= per_length
        cosine = last * per_length
        slope = -(gain * (dot * turn * per_length)) - factor * (log_det * cosine)
        # 1 + l / N cancels next to the south pole.
        unscale = divide(ones_like(scale), scale)
        rise = (square.to(scale.dtype) * unscale) * unscale * gain * per_length
        rise = tl.where(last < 0.0, rise, cosine + 1.0)
        grad_last = unit * (factor * dot * per_length + log_det * rise)
        gain *= unit
        slope *= unit
        tl.store(grad_x + (row * out_line + d), grad_last, mask=there)
    else:
        # grad_z = rho g + z rho (rho g_last - (z rho).g - d g_logdet)
        factor, gain, _, _ = point(scale, square)
        slope = factor * (gain * read_at(views[1], block, d) - factor * dot - log_det)
    map_row(read_all, gradient, (gain, slope, total), first, views, ((grad_x, out_line),), block, d,
            count, ELEMENTS, 1)  # fmt: skip


# ---- the ops -----------------------------------------------------------------------


def _checked(op: str, x: Tensor, inverse: bool) -> tuple[Blocks, list[tuple[Any, torch.dtype]]]:
    """Blocks of x's rows; shapes and dtypes of the image and its log-det."""
    extra = 1 if inverse else 0
    if x.dtype not in FLOATING or x.ndim < 1 or x.shape[-1] <= extra:
        refuse(op, x)
    batch, d = x.shape[:-1], x.shape[-1] - extra
    image = (*batch, d if inverse else d + 1)
    return Blocks(batch, d, x.dtype, each=32), [(image, x.dtype), (batch, wide_of(x.dtype))]


def _forward(op: str, inverse: bool, x: Tensor) -> Call:
    blocks, outputs = _checked(op, x, inverse)
    source = rows_of(x, x.shape[:-1])
    return Call(
        forward_kernel, blocks.programs, x,
        inputs=[source], outputs=outputs, constants={"INVERSE": inverse, **blocks.constants},
        numbers=(*blocks.sizes, *source.strides, outputs[0][0][-1]),
    )  # fmt: skip


def _backward(op: str, inverse: bool, grad: Tensor, grad_log_det: Tensor, x: Tensor) -> Call:
    blocks, outputs = _checked(op, x, inverse)
    check_gradients(op, (grad, grad_log_det), outputs, x)
    batch = x.shape[:-1]
    inputs = [rows_of(grad, batch), rows_of(grad_log_det, batch, 0), rows_of(x, batch)]
    grads, log_dets, source = inputs
    return Call(
        backward_kernel, blocks.programs, x, inputs=inputs, outputs=[(x.shape, x.dtype)],
        constants={"INVERSE": inverse, **blocks.constants},
        numbers=(*blocks.sizes, *grads.strides, log_dets.line, *source.strides, x.shape[-1]),
    )  # fmt: skip


# (s, log_det) of z, the gradient of z; (z, log_det) of s, the gradient of s.
stereographic = Planned(partial(_forward, "stereographic", False), 1)
stereographic_backward = Planned(partial(_backward, "stereographic", False), 3)
stereographic_inverse = Planned(partial(_forward, "stereographic_inverse", True), 1)
stereographic_inverse_backward = Planned(partial(_backward, "stereographic_inverse", True), 3)

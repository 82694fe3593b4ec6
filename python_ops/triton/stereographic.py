"""stereographic and stereographic_inverse in Triton: a row is read once and written once.

The formulas are those of csrc/math/stereographic.h: out_i = gain g_i + slope (scale x_i), with
coefficients from a row's sums |scale x|^2 and (scale x).g.  A row's first tile stays in
registers from the sums to the result; only rows longer than that are read again.

|x|^2 is summed in float64, one multiplication an element: |x|^2 - 1 keeps its digits
next to the equator, and no float32 row overflows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import divide, log1p, ones_like, sqrt
from .engine.calls import Call, planned
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import ceil_div, row_blocks, rows_of
from .engine.tiles import fetch, positions, read_tile, write_tile
from .ranges import LARGEST, PROJECTION_LARGEST, PROJECTION_LIFT, PROJECTION_SQUARE

# ---- sums ------------------------------------------------------------------------


@triton.jit
def lift_of(largest, INVERSE: tl.constexpr):
    """The power of two that keeps the squares of a float64 row finite, or above 0."""
    if INVERSE:
        return tl.where(
            largest < 1.0 / PROJECTION_LARGEST, 1.0 / PROJECTION_LIFT, ones_like(largest)
        )
    else:
        return tl.where(largest > PROJECTION_LARGEST, PROJECTION_LIFT, ones_like(largest))


@triton.jit
def scale_of(square, lift, DTYPE: tl.constexpr, INVERSE: tl.constexpr):
    """(scale, |scale x|^2) from |lift x|^2: 1 but where products would leave the normal numbers.

    Then |scale x| is about 1.
    """
    bits = square.to(tl.int64, bitcast=True)
    exponent = (bits >> 52) - 1023
    root = ((1023 - (exponent >> 1)) << 52).to(tl.float64, bitcast=True)
    if DTYPE == tl.float32:
        root = tl.minimum(tl.maximum(root, 2.0**-126), 2.0**126)
    limit: tl.constexpr = PROJECTION_SQUARE[DTYPE == tl.float64]
    far = (square < 1.0 / limit) & (square > 0.0) if INVERSE else square > limit
    far = (far | (lift != 1.0)) & (square < float("inf"))
    scale = tl.where(far, root * lift, 1.0).to(DTYPE)
    return scale, tl.where(far, square * root * root, square)


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
def preimage(scale, square, last):
    """(N, factor, 1 / (N - l), turn) of s = [h, l]; z = factor (scale h).

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
    largest = LARGEST[scale.dtype == tl.float64]
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


# ---- kernels ---------------------------------------------------------------------


@triton.jit
def row_sums(
    x, value, row, there, count, d, x_line, x_step,
    INVERSE: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """`scale_of` rows whose first tile is `value`."""
    lift = tl.zeros([value.shape[0]], tl.float64) + 1.0
    if value.dtype == tl.float64:
        largest = tl.max(tl.abs(value), axis=1)
        for k in range(1, count):
            more = read_tile(x, row, there, k, d, x_line, x_step, ELEMENTS)
            largest = tl.maximum(largest, tl.max(tl.abs(more), axis=1))
        lift = lift_of(largest, INVERSE)
    lifted = value.to(tl.float64) * lift[:, None]
    square = tl.sum(lifted * lifted, axis=1)
    for k in range(1, count):
        more = read_tile(x, row, there, k, d, x_line, x_step, ELEMENTS)
        more = more.to(tl.float64) * lift[:, None]
        square += tl.sum(more * more, axis=1)
    return scale_of(square, lift, value.dtype, INVERSE)


@triton.jit
def forward_kernel(
    x, out, log_det, rows, d, count, x_line, x_step, out_line,
    INVERSE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    row = positions(tl.program_id(0), LINES)
    there = row < rows
    value = read_tile(x, row, there, 0, d, x_line, x_step, ELEMENTS)
    scale, square = row_sums(x, value, row, there, count, d, x_line, x_step, INVERSE, ELEMENTS)
    if INVERSE:
        last = fetch(x, row * x_line + d * x_step, there)
        length, slope, _, _ = preimage(scale, square, last)
        log_rho = -inverse_log_rho(scale, square, last, length)
    else:
        slope, _, last, log_rho = point(scale, square)
        tl.store(out + (row * out_line + d), last, mask=there)
    tl.store(log_det + row, log_rho * tl.cast(d, scale.dtype), mask=there)
    slope, scale = slope[:, None], scale[:, None]
    write_tile(out, row, there, 0, d, out_line, slope * (scale * value), ELEMENTS)
    for k in range(1, count):
        more = read_tile(x, row, there, k, d, x_line, x_step, ELEMENTS)
        write_tile(out, row, there, k, d, out_line, slope * (scale * more), ELEMENTS)


@triton.jit
def backward_kernel(
    grad_out, grad_log_det, x, grad_x, rows, d, count,
    g_line, g_step, log_det_step, x_line, x_step, out_line,
    INVERSE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    row = positions(tl.program_id(0), LINES)
    there = row < rows
    value = read_tile(x, row, there, 0, d, x_line, x_step, ELEMENTS)
    grad = read_tile(grad_out, row, there, 0, d, g_line, g_step, ELEMENTS)
    scale, square = row_sums(x, value, row, there, count, d, x_line, x_step, INVERSE, ELEMENTS)
    dot = tl.sum(scale[:, None] * value * grad, axis=1)
    for k in range(1, count):
        more = read_tile(x, row, there, k, d, x_line, x_step, ELEMENTS)
        more_grad = read_tile(grad_out, row, there, k, d, g_line, g_step, ELEMENTS)
        dot += tl.sum(scale[:, None] * more * more_grad, axis=1)
    log_det = fetch(grad_log_det, row * log_det_step, there) * tl.cast(d, value.dtype)
    if INVERSE:
        # grad_h = g / (N - l) - z (z.g) / N - z d (l / N^2) g_logdet
        last = fetch(x, row * x_line + d * x_step, there)
        length, factor, gain, turn = preimage(scale, square, last)
        per_length = divide(1.0 + length * 0.0, length)
        log_det *= per_length
        cosine = last * per_length
        slope = -(gain * (dot * turn * per_length)) - factor * (log_det * cosine)
        # 1 + l / N cancels next to the south pole.
        unscale = divide(ones_like(scale), scale)
        rise = (square.to(scale.dtype) * unscale) * unscale * gain * per_length
        rise = tl.where(last < 0.0, rise, cosine + 1.0)
        grad_last = factor * dot * per_length + log_det * rise
        tl.store(grad_x + (row * out_line + d), grad_last, mask=there)
    else:
        # grad_z = rho g + z rho (rho g_last - (z rho).g - d g_logdet)
        factor, gain, _, _ = point(scale, square)
        grad_last = fetch(grad_out, row * g_line + d * g_step, there)
        slope = factor * (gain * grad_last - factor * dot - log_det)
    gain, slope, scale = gain[:, None], slope[:, None], scale[:, None]
    write_tile(grad_x, row, there, 0, d, out_line, gain * grad + slope * (scale * value), ELEMENTS)
    for k in range(1, count):
        more = read_tile(x, row, there, k, d, x_line, x_step, ELEMENTS)
        more_grad = read_tile(grad_out, row, there, k, d, g_line, g_step, ELEMENTS)
        out = gain * more_grad + slope * (scale * more)
        write_tile(grad_x, row, there, k, d, out_line, out, ELEMENTS)


# ---- the ops -----------------------------------------------------------------------


def _rows(op: str, x: Tensor, inverse: bool) -> tuple[torch.Size, Any, Any, Any, dict[str, Any]]:
    """(batch, rows, d, (programs, tiles of a row), constants)."""
    extra = 1 if inverse else 0
    if x.dtype not in FLOATING or x.ndim < 1 or x.shape[-1] <= extra:
        refuse(op, x)
    batch, d = x.shape[:-1], x.shape[-1] - extra
    rows = math.prod(batch)
    blocks = row_blocks(rows, d, x.dtype == torch.float64)
    tiles = ceil_div(rows, blocks["LINES"]), ceil_div(d, blocks["ELEMENTS"])
    return batch, rows, d, tiles, {"INVERSE": inverse, **blocks}


def _images(x: Tensor, inverse: bool) -> list[tuple[Any, torch.dtype]]:
    """Shapes and dtypes of the image and its log-det."""
    width = x.shape[-1] + (-1 if inverse else 1)
    return [((*x.shape[:-1], width), x.dtype), (x.shape[:-1], wide_of(x.dtype))]


def _forward(op: str, x: Tensor, inverse: bool) -> Call:
    batch, rows, d, (programs, count), constants = _rows(op, x, inverse)
    source, outputs = rows_of(x, batch), _images(x, inverse)
    return Call(
        forward_kernel, programs, x,
        inputs=[source], outputs=outputs, constants=constants,
        numbers=(rows, d, count, *source.strides, outputs[0][0][-1]),
    )  # fmt: skip


def _backward(op: str, grad: Tensor, grad_log_det: Tensor, x: Tensor, inverse: bool) -> Call:
    batch, rows, d, (programs, count), constants = _rows(op, x, inverse)
    check_gradients(op, (grad, grad_log_det), _images(x, inverse), x)
    grads, log_dets = rows_of(grad, batch), rows_of(grad_log_det, batch, 0)
    source = rows_of(x, batch)
    return Call(
        backward_kernel, programs, x,
        inputs=[grads, log_dets, source], outputs=[(x.shape, x.dtype)], constants=constants,
        numbers=(
            rows, d, count, *grads.strides, log_dets.line, *source.strides, x.shape[-1],
        ),
    )  # fmt: skip


@planned(tensors=1)
def stereographic(z: Tensor) -> Call:
    """(s, log_det)."""
    return _forward("stereographic", z, False)


@planned(tensors=3)
def stereographic_backward(grad_s: Tensor, grad_log_det: Tensor, z: Tensor) -> Call:
    """The gradient of z."""
    return _backward("stereographic", grad_s, grad_log_det, z, False)


@planned(tensors=1)
def stereographic_inverse(s: Tensor) -> Call:
    """(z, log_det)."""
    return _forward("stereographic_inverse", s, True)


@planned(tensors=3)
def stereographic_inverse_backward(grad_z: Tensor, grad_log_det: Tensor, s: Tensor) -> Call:
    """The gradient of s."""
    return _backward("stereographic_inverse", grad_z, grad_log_det, s, True)

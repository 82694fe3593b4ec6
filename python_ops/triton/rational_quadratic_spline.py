"""rational_quadratic_spline in Triton: one pass over memory in each direction.

The formulas are those of csrc/math/rational_quadratic_spline.h.  A program takes a run of
elements, all of their bins in registers; the programs after those copy the kept channels.  Of the
log-dets, sums of 2^m elements of a row are written, which are added up after the kernel where a row
has several of them.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import log
from .engine.calls import Call, planned
from .engine.channels import OPTIONS, are_operands, channels_of, log_det_shape
from .engine.refuse import check_gradients, refuse, wide_of
from .engine.rows import power_of_two
from .engine.runs import Runs, copy_run, elements_of, store_sums
from .engine.tiles import fetch
from .softmax_bins import (
    bin_gradients,
    bin_point,
    bin_position,
    find_bins,
    pick,
    weigh_bins,
)
from .spline_curve import (
    curve_at,
    curve_pullback,
    ends_of,
    knot_derivative_slope,
    root,
)

# ---- elements ------------------------------------------------------------------------


@triton.jit
def spline_at(
    x, raws, at, mask, step, K: tl.constexpr, BINS: tl.constexpr, BOUND: tl.constexpr,
    BOUNDARY: tl.constexpr, LEAST: tl.constexpr, SCALE: tl.constexpr, CLIP: tl.constexpr,
    WIDTH_FLOOR: tl.constexpr, HEIGHT_FLOOR: tl.constexpr, INVERSE_HIGH: tl.constexpr,
    INVERSE_LOW: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """(y, log dy/dx, what the pullback takes) of elements whose raw parameters begin at `at`."""
    place = tl.arange(0, BINS)[:, None]
    there = place < K
    offset = at[None, :] + place.to(tl.int64) * step
    loaded = mask[None, :] & there
    width_raw = fetch(raws, offset, loaded).to(x.dtype)
    height_raw = fetch(raws, offset + tl.cast(step, tl.int64) * K, loaded).to(x.dtype)
    w_high, w_low, w_weights, w_sum, w_total, w_rest = weigh_bins(
        width_raw, there, K, SCALE, CLIP, WIDTH_FLOOR
    )
    h_high, h_low, h_weights, h_sum, h_total, h_rest = weigh_bins(
        height_raw, there, K, SCALE, CLIP, HEIGHT_FLOOR
    )
    # 0 takes the place of points outside, so that all arithmetic stays in range.
    inside = tl.abs(x) <= BOUND
    point = tl.where(inside, x, 0.0)
    if INVERSE:
        high, low = bin_position(h_total, h_rest, point, INVERSE_HIGH, INVERSE_LOW)
        number, u, v, height = find_bins(h_high, h_low, there, place, high, low)
        width = pick(w_high + w_low, place == number[None, :])
    else:
        high, low = bin_position(w_total, w_rest, point, INVERSE_HIGH, INVERSE_LOW)
        number, u, v, width = find_bins(w_high, w_low, there, place, high, low)
        height = pick(h_high + h_low, place == number[None, :])
    raw_left, raw_right, d0, d1 = ends_of(
        raws, at + tl.cast(step, tl.int64) * (2 * K), mask, step, number, BOUNDARY, K, LEAST, CLIP
    )
    s = (height / width) * ((w_total + w_rest) / (h_total + h_rest))
    # The ends of the interval are exact, however steep the curve is there.
    u = tl.where(point <= -BOUND, 0.0, tl.where(point >= BOUND, 1.0, u))
    v = tl.where(point >= BOUND, 0.0, tl.where(point <= -BOUND, 1.0, v))
    if INVERSE:
        u, v = root(s, d0, d1, u, v)
    inverse_d, fraction, e = curve_at(s, d0, d1, u, v)
    log_slope = log(s * inverse_d * e * s)
    earlier = place < number[None, :]
    if INVERSE:
        y = bin_point(w_total, w_rest, pick(w_high, earlier), pick(w_low, earlier), width, u, BOUND)
        log_slope = -log_slope
    else:
        y = bin_point(h_total, h_rest, pick(h_high, earlier), pick(h_low, earlier), height,
                      fraction, BOUND)  # fmt: skip
    # The identity; NaN stays NaN in both.
    y = tl.where(inside, y, x)
    log_slope = tl.where(inside, log_slope, tl.where(x == x, 0.0, x))
    widths = width_raw, w_weights, w_sum, w_total + w_rest
    heights = height_raw, h_weights, h_sum, h_total + h_rest
    ends = raw_left, raw_right, d0, d1
    return y, log_slope, (inside, number, widths, heights, width, height, ends, s, u, v,
                          inverse_d, fraction, e)  # fmt: skip


# ---- kernels ----------------------------------------------------------------------------


# Bins lie along axis 0 of a block so that a thread has all bins of an element.  Were a step of 1
# known to the compiler, it would read bins side by side, and keep that layout throughout: several
# threads would then compute the same element.
@triton.jit(do_not_specialize=["p_part"])
def forward_kernel(
    x, raws, y, log_det,
    total, n, kept_total, kept_n, space, runs,
    x_row, x_channel, x_step, p_row, p_channel, p_part, p_step, y_row, y_channel,
    x_at, x_kept_at, y_at, y_kept_at,
    K: tl.constexpr, BINS: tl.constexpr, BOUND: tl.constexpr, BOUNDARY: tl.constexpr,
    LEAST: tl.constexpr, SCALE: tl.constexpr, CLIP: tl.constexpr, WIDTH_FLOOR: tl.constexpr,
    HEIGHT_FLOOR: tl.constexpr, INVERSE_HIGH: tl.constexpr, INVERSE_LOW: tl.constexpr,
    INVERSE: tl.constexpr, EACH: tl.constexpr, ELEMENTS: tl.constexpr, COPIED: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0)
    if k >= runs:
        copy_run(x + x_kept_at, y + y_kept_at, k - runs, kept_total, kept_n, space,
                 x_row, x_channel, x_step, y_row, y_channel, COPIED, WIDE)  # fmt: skip
    else:
        number, row, channel, position = elements_of(k, n, space, ELEMENTS, WIDE)
        mask = number < total
        value = fetch(x, x_at + (row * x_row + channel * x_channel + position * x_step), mask)
        at = row * p_row + channel * p_channel + position * p_step
        out, log_slope, _ = spline_at(
            value, raws, at, mask, p_part, K, BINS, BOUND, BOUNDARY, LEAST, SCALE, CLIP,
            WIDTH_FLOOR, HEIGHT_FLOOR, INVERSE_HIGH, INVERSE_LOW, INVERSE,
        )  # fmt: skip
        tl.store(y + (y_at + (row * y_row + channel * y_channel + position)), out, mask=mask)
        store_sums(log_det, k, total, log_slope, ELEMENTS, EACH)


@triton.jit
def store_derivatives(to, at, mask, step, number, left, right, BOUNDARY: tl.constexpr,
                      K: tl.constexpr, BINS: tl.constexpr):  # fmt: skip
    """Writes the gradients of the raw derivatives from those at the ends of each element's bin."""
    place = tl.arange(0, BINS)[:, None]
    knot = place + 1 if BOUNDARY == "linear" else place
    grads = tl.where(knot == number[None, :], left[None, :], 0.0)
    grads += tl.where(knot == number[None, :] + 1, right[None, :], 0.0)
    if BOUNDARY == "circular":
        wraps = (place == 0) & (number[None, :] == K - 1)
        grads += tl.where(wraps, right[None, :], 0.0)
    count: tl.constexpr = K - 1 if BOUNDARY == "linear" else K
    own = mask[None, :] & (place < count)
    tl.store(to + (at[None, :] + place.to(tl.int64) * step), grads, mask=own)
    if BOUNDARY == "none":
        last = tl.where(number == K - 1, right, 0.0)
        tl.store(to + (at + tl.cast(step, tl.int64) * K), last, mask=mask)


@triton.jit(do_not_specialize=["p_part"])
def backward_kernel(
    grad_y, grad_log_det, x, raws, grad_x, grad_params,
    total, n, kept_total, kept_n, space, runs,
    g_row, g_channel, g_step, l_row, l_channel, l_step, x_row, x_channel, x_step,
    p_row, p_channel, p_part, p_step, gx_row, gx_channel, gp_row, gp_channel,
    g_at, g_kept_at, x_at, gx_at, gx_kept_at,
    WIDTH_SHARE: tl.constexpr, HEIGHT_SHARE: tl.constexpr,
    K: tl.constexpr, BINS: tl.constexpr, BOUND: tl.constexpr, BOUNDARY: tl.constexpr,
    LEAST: tl.constexpr, SCALE: tl.constexpr, CLIP: tl.constexpr, WIDTH_FLOOR: tl.constexpr,
    HEIGHT_FLOOR: tl.constexpr, INVERSE_HIGH: tl.constexpr, INVERSE_LOW: tl.constexpr,
    INVERSE: tl.constexpr, ELEMENTS: tl.constexpr, COPIED: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0)
    if k >= runs:
        copy_run(grad_y + g_kept_at, grad_x + gx_kept_at, k - runs, kept_total, kept_n, space,
                 g_row, g_channel, g_step, gx_row, gx_channel, COPIED, WIDE)  # fmt: skip
    else:
        element, row, channel, position = elements_of(k, n, space, ELEMENTS, WIDE)
        mask = element < total
        value = fetch(x, x_at + (row * x_row + channel * x_channel + position * x_step), mask)
        given = fetch(grad_y, g_at + (row * g_row + channel * g_channel + position * g_step), mask)
        log_at = row * l_row + channel * l_channel + position * l_step
        given_log = fetch(grad_log_det, log_at, mask).to(value.dtype)
        at = row * p_row + channel * p_channel + position * p_step
        _, _, there = spline_at(
            value, raws, at, mask, p_part, K, BINS, BOUND, BOUNDARY, LEAST, SCALE, CLIP,
            WIDTH_FLOOR, HEIGHT_FLOOR, INVERSE_HIGH, INVERSE_LOW, INVERSE,
        )  # fmt: skip
        inside, number, widths, heights, width, height, ends, s, u, v, inverse_d, fraction, e = (
            there
        )
        width_raw, w_weights, w_sum, w_total = widths
        height_raw, h_weights, h_sum, h_total = heights
        raw_left, raw_right, d0, d1 = ends
        width = width * (2.0 * BOUND) / w_total
        height = height * (2.0 * BOUND) / h_total
        of_y = tl.where(inside, given, 0.0)
        of_log = tl.where(inside, given_log, 0.0)
        if INVERSE:
            # x and y change places: dx = (dy - f_p dp) / f', so that what reaches the parameters
            # is the pullback of f for the gradients -dx and -grad_log.
            log_u, _, _, _ = curve_pullback(
                s, d0, d1, u, v, inverse_d, fraction, e, height, of_y * 0.0, of_y * 0.0 + 1.0
            )
            slope = s * (s * inverse_d) * e
            of_x = (of_y - of_log * (log_u / width)) / slope
            of_y = -of_x
            of_log = -of_log
        of_u, of_s, of_left, of_right = curve_pullback(
            s, d0, d1, u, v, inverse_d, fraction, e, height, of_y, of_log
        )
        of_start = of_u / width
        if not INVERSE:
            of_x = of_start
        tl.store(grad_x + (gx_at + (row * gx_row + channel * gx_channel + position)),
                 tl.where(inside, of_x, given), mask=mask)  # fmt: skip
        # u = (x - x_k) / w, s = h / w; y = y_k + h N / D.
        of_width = -(u * of_start) - s * (of_s / width)
        of_height = of_y * fraction + of_s / width
        place = tl.arange(0, BINS)[:, None]
        to = row * gp_row + channel * gp_channel + position
        step = tl.cast(space, tl.int64)
        own = mask[None, :] & (place < K)
        offset = to[None, :] + place.to(tl.int64) * step
        grads = bin_gradients(w_weights, w_sum, place, number, -of_start, of_width, width_raw,
                              BOUND, WIDTH_SHARE, SCALE, CLIP)  # fmt: skip
        tl.store(grad_params + offset, grads, mask=own)
        grads = bin_gradients(h_weights, h_sum, place, number, of_y, of_height, height_raw,
                              BOUND, HEIGHT_SHARE, SCALE, CLIP)  # fmt: skip
        tl.store(grad_params + (offset + step * K), grads, mask=own)
        of_left = of_left * knot_derivative_slope(raw_left, d0, CLIP)
        of_right = of_right * knot_derivative_slope(raw_right, d1, CLIP)
        store_derivatives(grad_params, to + step * (2 * K), mask, step, number, of_left, of_right,
                          BOUNDARY, K, BINS)  # fmt: skip


# ---- options and checks ----------------------------------------------------------------

# Parameters of an element beside 3 for each bin.
EXTRA = {"linear": -1, "circular": 0, "none": 1}
LARGEST_BINS = 128


def _check(x: Tensor, params: Tensor, *options: Any) -> int:
    """How many parameters an element has."""
    (bins, bound, boundary, min_width, min_height, min_derivative, convention, scale, _,
     transform, reduction) = options  # fmt: skip
    if not (
        1 <= bins <= LARGEST_BINS
        and boundary in OPTIONS["boundary"]
        and 0 < bound < math.inf
        and min_width >= 0
        and min_width * bins < 1
        and min_height >= 0
        and min_height * bins < 1
        and 0 < min_derivative < 1
        and convention in OPTIONS["convention"]
        and 0 < scale < math.inf
        and are_operands(x, params, 3 * bins + EXTRA[boundary], transform, reduction)
    ):
        refuse("rational_quadratic_spline", x, params, *options)
    return int(3 * bins + EXTRA[boundary])


def _constants(double: bool, options: tuple[Any, ...]) -> dict[str, Any]:
    """The options as numbers of a kernel."""
    (bins, bound, boundary, min_width, min_height, min_derivative, convention, scale, inverse,
     _, _) = options  # fmt: skip
    zuko = convention == "zuko"
    widths, heights = (0.0, 0.0) if zuko else (float(min_width), float(min_height))
    high = 0.5 / bound
    if not double:
        # The leading 12 bits of the float32.
        (bits,) = struct.unpack("I", struct.pack("f", high))
        (high,) = struct.unpack("f", struct.pack("I", bits & ~0xFFF))
    return {
        "K": int(bins),
        "BINS": power_of_two(bins, LARGEST_BINS),
        "BOUND": float(bound),
        "BOUNDARY": boundary,
        "LEAST": float(min_derivative),
        "SCALE": float(scale),
        "CLIP": -2 / math.log(min_derivative) if zuko else 0.0,
        "WIDTH_FLOOR": widths / (1 - widths * bins),
        "HEIGHT_FLOOR": heights / (1 - heights * bins),
        "INVERSE_HIGH": high,
        "INVERSE_LOW": 0.5 / bound - high,
        "INVERSE": bool(inverse),
    }


# ---- the op --------------------------------------------------------------------------------


def _runs(x: Tensor, coupled: Any, options: tuple[Any, ...]) -> tuple[Runs, dict[str, Any]]:
    """A call's runs of elements, and all constants of its kernel."""
    constants = _constants(x.dtype == torch.float64, options)
    # Of all bins of an element, a thread's.
    runs = Runs(x, coupled, options[9], max(constants["BINS"], 8))
    return runs, constants | runs.constants


@planned(tensors=2)
def rational_quadratic_spline(x: Tensor, params: Tensor, *options: Any) -> Call:
    """(y, log_det); the options are those of the dispatcher's schema."""
    parts = _check(x, params, *options)
    coupled = params.shape[1] // parts
    runs, constants = _runs(x, coupled, options)
    xs, ys = runs.operand(x, x.stride()), runs.operand(x, None)
    ps = channels_of(params.shape, params.stride())
    log_dets, each, finish = log_det_shape(x, coupled, "none"), 1, None
    if options[10] == "row":
        log_dets, each = runs.sums, runs.each
        if log_dets[1] == 1:
            log_dets = log_dets[:1]
        else:
            finish = (None, lambda sums: sums.sum(1))
    return Call(
        forward_kernel, runs.programs, x,
        inputs=[xs.rows, ps.rows],
        outputs=[(x.shape, x.dtype), (log_dets, wide_of(x.dtype))],
        numbers=(
            *runs.sizes, xs.row, xs.channel, xs.step,
            ps.row, ps.channel * parts, ps.channel, ps.step, ys.row, ys.channel,
            *runs.starts(xs), *runs.starts(ys),
        ),
        constants={"EACH": each, **constants},
        finish=finish,
    )  # fmt: skip


@planned(tensors=4)
def rational_quadratic_spline_backward(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, *options: Any
) -> Call:
    """(grad_x, grad_params)."""
    parts = _check(x, params, *options)
    coupled = params.shape[1] // parts
    runs, constants = _runs(x, coupled, options)
    log_dets = log_det_shape(x, coupled, options[10])
    outputs = (x.shape, x.dtype), (log_dets, wide_of(x.dtype))
    check_gradients(
        "rational_quadratic_spline", (grad_y, grad_log_det), outputs, x, params, *options
    )
    gs, xs, gxs = (runs.operand(x, s) for s in (grad_y.stride(), x.stride(), None))
    ps = channels_of(params.shape, params.stride())
    gps = channels_of(params.shape, None)
    if options[10] == "none":
        ls = channels_of(log_dets, grad_log_det.stride())
        logs = (ls.row, ls.channel, ls.step)
    else:
        ls, logs = None, (grad_log_det.stride(0), 0, 0)
    return Call(
        backward_kernel, runs.programs, x,
        inputs=[gs.rows, ls.rows if ls else None, xs.rows, ps.rows],
        outputs=[(x.shape, x.dtype), (params.shape, params.dtype)],
        numbers=(
            *runs.sizes, gs.row, gs.channel, gs.step, *logs, xs.row, xs.channel, xs.step,
            ps.row, ps.channel * parts, ps.channel, ps.step,
            gxs.row, gxs.channel, gps.row, gps.channel * parts,
            *runs.starts(gs), runs.starts(xs)[0], *runs.starts(gxs),
        ),
        constants={
            "WIDTH_SHARE": 1 - options[3] * options[0] if options[6] != "zuko" else 1.0,
            "HEIGHT_SHARE": 1 - options[4] * options[0] if options[6] != "zuko" else 1.0,
            **constants,
        },
    )  # fmt: skip

"""The scale of an affine coupling and its derivative, as in csrc/math/affine_coupling.h."""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import atan, exp, log1p_nonnegative, tanh
from .ranges import (
    COUPLING_ATAN_SLOPE,
    COUPLING_SCALE_FLOOR,
    COUPLING_SIGMOID_SHIFT,
    COUPLING_SOFTPLUS_CEILING,
    COUPLING_SOFTPLUS_LOWEST,
    COUPLING_SOFTPLUS_SHIFT,
)


@triton.jit
def scale_of(r, SCALE_FN: tl.constexpr, BOUND: tl.constexpr):
    """(log s, s, d log s / d r)."""
    if SCALE_FN == "exp":
        return r, exp(r), r * 0.0 + 1.0
    elif SCALE_FN == "tanh":
        u = tanh(r * (1.0 / BOUND))
        log_s = u * BOUND
        return log_s, exp(log_s), (1.0 - u) * (u + 1.0)
    elif SCALE_FN == "softclip":
        q = 1.0 / (tl.abs(r * (1.0 / BOUND)) + 1.0)
        log_s = r * q
        return log_s, exp(log_s), q * q
    elif SCALE_FN == "atan":
        u = r * (1.0 / BOUND)
        log_s = atan(u) * (BOUND * COUPLING_ATAN_SLOPE)
        return log_s, exp(log_s), COUPLING_ATAN_SLOPE / (u * u + 1.0)
    elif SCALE_FN == "softplus" or SCALE_FN == "floored_softplus":
        e = exp(-tl.abs(r))
        unclamped = tl.where(r < 0.0, 0.0, r) + log1p_nonnegative(e) + COUPLING_SCALE_FLOOR
        slope = tl.where(r < 0.0, e, 1.0) / (e + 1.0)
        if SCALE_FN == "softplus":
            ceiling: tl.constexpr = COUPLING_SOFTPLUS_CEILING
            s = tl.where(unclamped > ceiling, ceiling, unclamped)
            return tl.log(s), s, tl.where(unclamped <= ceiling, slope / s, 0.0)
        else:
            return tl.log(unclamped), unclamped, slope / unclamped
    elif SCALE_FN == "shifted_softplus":
        v = r + COUPLING_SOFTPLUS_SHIFT
        e = exp(-tl.abs(v))
        s = tl.where(v < 0.0, 0.0, v) + log1p_nonnegative(e)
        slope = tl.where(v < 0.0, e, 1.0) / (e + 1.0)
        low = v < COUPLING_SOFTPLUS_LOWEST
        above = tl.where(low, 1.0, s)
        log_s = tl.where(low, v - e * 0.5, tl.log(above))
        return log_s, s, tl.where(low, e * -0.5 + 1.0, slope / above)
    else:
        v = r + COUPLING_SIGMOID_SHIFT
        e = exp(-tl.abs(v))
        inverse = 1.0 / (e + 1.0)
        log_s = tl.where(v > 0.0, 0.0, v) - log1p_nonnegative(e)
        complement = tl.where(v < 0.0, 1.0, e) * inverse
        sigmoid = tl.where(v < 0.0, e, 1.0) * inverse
        if SCALE_FN == "sigmoid":
            return log_s, sigmoid, complement
        elif SCALE_FN == "inv_sigmoid":
            return -log_s, exp(-v) + 1.0, -complement
        else:
            tl.static_assert(SCALE_FN == "floored_sigmoid")
            s = sigmoid + COUPLING_SCALE_FLOOR
            return tl.log(s), s, sigmoid * complement / s


@triton.jit
def scale(raw, SCALE_FN: tl.constexpr, BOUND: tl.constexpr, GAIN: tl.constexpr):
    """(log s, s, d log s / d raw)."""
    log_s, s, slope = scale_of(raw * GAIN, SCALE_FN, BOUND)
    return log_s, s, slope * GAIN

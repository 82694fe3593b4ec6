"""log I_v(x) and its derivatives at one order, in Triton: csrc/math/log_iv.h."""

from __future__ import annotations

import triton
import triton.language as tl

from .bessel_plan import LOG_GAMMA, E, M, P, V, polynomial
from .bessel_ratio import (
    any_of,
    below_huge,
    frame,
    in_series,
    past_huge,
    series_ratio,
    series_slope,
    series_t0,
)
from .elementary import divide, log, log1p_nonnegative
from .ranges import QUOTIENT_LIFT, QUOTIENT_LOG_LIFT, QUOTIENT_SMALL


@triton.jit
def asinh_of_quotient(h_plus_v, x):
    """asinh(v / x) = log((h + v) / x), also where the quotient overflows."""
    small = x < QUOTIENT_SMALL[x.dtype == tl.float64]
    lifted = tl.where(small, x * QUOTIENT_LIFT[x.dtype == tl.float64], x)
    lift = tl.where(small, QUOTIENT_LOG_LIFT[x.dtype == tl.float64], tl.zeros_like(x))
    return tl.log(divide(h_plus_v, lifted)) + lift


@triton.jit
def debye_log_iv(h, v, x, total):
    half_log = (tl.log(h) + 1.83787706640934548356) * 0.5
    return (h - v * asinh_of_quotient(h + v, x)) - half_log + total


@triton.jit
def log_power(v, x):
    """v log(x / 2), 0 for v = 0."""
    return tl.where(v == 0.0, 0.0, v * (log(x) - 0.69314718055994530942))


@triton.jit
def order_over(v, x):
    """v / x, 0 for v = 0."""
    return tl.where(v == 0.0, 0.0, divide(v, x))


@triton.jit
def log_iv(plan, x, TERMS: tl.constexpr):
    """log I_v(x)"""
    past, _ = past_huge(x)
    xc = below_huge(x)
    v = tl.zeros_like(x) + tl.load(plan + V)
    h, _, _, _, s = frame(plan, xc)
    out = debye_log_iv(h, v, xc, polynomial(plan, P, s, TERMS[0]))
    if TERMS[1] > 0:
        low = in_series(plan, xc)
        if any_of(low):
            xl = tl.where(low, xc, 0.0)
            series = log_power(v, xl) - tl.load(plan + LOG_GAMMA)
            out = tl.where(low, series + log1p_nonnegative(series_t0(plan, xl, TERMS)), out)
    return tl.where(past, x, out)


@triton.jit
def log_iv_slope(plan, x, TERMS: tl.constexpr):
    """d/dx log I_v(x)"""
    x = below_huge(x)
    v = tl.zeros_like(x) + tl.load(plan + V)
    h, inv_h, _, _, s = frame(plan, x)
    out = divide(h, x) - x * inv_h * inv_h * (polynomial(plan, E, s, TERMS[0]) + 0.5)
    if TERMS[1] > 0:
        low = in_series(plan, x)
        if any_of(low):
            xl = tl.where(low, x, 0.0)
            out = tl.where(low, series_ratio(plan, xl, TERMS) + order_over(v, xl), out)
    return out


@triton.jit
def log_iv_curvature(plan, x, TERMS: tl.constexpr):
    """d^2/dx^2 log I_v(x)"""
    past, ratio = past_huge(x)
    x = below_huge(x)
    v = tl.zeros_like(x) + tl.load(plan + V)
    _, inv_h, _, _, s = frame(plan, x)
    t = v * inv_h
    r = divide(v, x)
    out = inv_h * inv_h * (0.5 - t * t - polynomial(plan, M, s, TERMS[0])) - r * (r * inv_h)
    if TERMS[1] > 0:
        low = in_series(plan, x)
        if any_of(low):
            xl = tl.where(low, x, 0.0)
            inside = series_slope(plan, xl, TERMS) - order_over(order_over(v, xl), xl)
            out = tl.where(low, inside, out)
    return tl.where(past, out * ratio * ratio, out)

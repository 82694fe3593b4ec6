"""L = log 0F1(; v + 1; x^2/4) at one order, and what densities make of it, in Triton.

The formulas are those of csrc/math/log_0f1.h.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bessel_plan import FACTORED, INV_TWO_M, OFFSET, E, V, W, polynomial
from .bessel_ratio import (
    any_of,
    below_huge,
    bessel_ratio_slope,
    frame,
    in_series,
    past_huge,
    series_ratio,
    series_t0,
)
from .elementary import divide, log1p_nonnegative
from .ranges import BESSEL_UNIT


@triton.jit
def debye_log_part(plan, x, inv_h, u, s, TERMS: tl.constexpr):
    """The two parts of L in the region of Debye's expansion: the logarithm and W."""
    y = x * u * tl.load(plan + INV_TWO_M) + tl.load(plan + OFFSET)
    w = polynomial(plan, W, s, TERMS[0])
    w = tl.where(tl.load(plan + FACTORED) != 0.0, w * (x * inv_h * u), w)
    return (tl.load(plan + V) + 0.5) * log1p_nonnegative(y) + w


@triton.jit
def small_argument(plan, x):
    """(whether x^2 << v + 1, x^2 / (4 (v + 1)) without the subnormal intermediate)"""
    v1 = tl.load(plan + V) + 1.0
    value = divide(x, tl.zeros_like(x) + v1) * (x * 0.25)
    return x * x < v1 * BESSEL_UNIT[x.dtype == tl.float64], value


@triton.jit
def bessel_divergence_slope(plan, x, TERMS: tl.constexpr):
    """KL' = x A', which falls as 1/x where A' alone would underflow."""
    past, ratio = past_huge(x)
    xc = below_huge(x)
    out = xc * bessel_ratio_slope(plan, xc, TERMS)
    return tl.where(past, out * ratio, out)


@triton.jit
def log_0f1(plan, x, TERMS: tl.constexpr):
    """L"""
    past, _ = past_huge(x)
    tiny, small = small_argument(plan, x)
    xc = below_huge(x)
    _, inv_h, _, u, s = frame(plan, xc)
    out = xc * u - debye_log_part(plan, xc, inv_h, u, s, TERMS)
    if TERMS[1] > 0:
        low = in_series(plan, xc)
        if any_of(low):
            t0 = series_t0(plan, tl.where(low, xc, 0.0), TERMS)
            out = tl.where(low, log1p_nonnegative(t0), out)
    return tl.where(tiny, small, tl.where(past, x, out))


@triton.jit
def bessel_peak(plan, x, TERMS: tl.constexpr):
    """M = x - L, without the cancellation at large x."""
    past, ratio = past_huge(x)
    xc = below_huge(x)
    v = tl.load(plan + V)
    h, inv_h, _, u, s = frame(plan, xc)
    part = debye_log_part(plan, xc, inv_h, u, s, TERMS)
    stable = v - v * divide(tl.zeros_like(x) + v, h + xc) + part
    out = tl.where(xc > v, stable, xc - (xc * u - part))
    if TERMS[1] > 0:
        low = in_series(plan, xc)
        if any_of(low):
            t0 = series_t0(plan, tl.where(low, xc, 0.0), TERMS)
            out = tl.where(low, xc - log1p_nonnegative(t0), out)
    return tl.where(past, out - (v + 0.5) * tl.log(ratio), out)


@triton.jit
def bessel_divergence(plan, x, TERMS: tl.constexpr):
    """KL = x L' - L"""
    past, ratio = past_huge(x)
    tiny, small = small_argument(plan, x)
    xc = below_huge(x)
    _, inv_h, _, u, s = frame(plan, xc)
    xs = xc * inv_h
    part = debye_log_part(plan, xc, inv_h, u, s, TERMS)
    out = part - xs * xs * (polynomial(plan, E, s, TERMS[0]) + 0.5)
    if TERMS[1] > 0:
        low = in_series(plan, xc)
        if any_of(low):
            xl = tl.where(low, xc, 0.0)
            t0 = series_t0(plan, xl, TERMS)
            out = tl.where(low, xl * series_ratio(plan, xl, TERMS) - log1p_nonnegative(t0), out)
    out = tl.where(past, out - (tl.load(plan + V) + 0.5) * tl.log(ratio), out)
    return tl.where(tiny, small, out)

"""A = I_{v+1} / I_v at one order, its derivatives and complement, in Triton.

The formulas are those of csrc/math/bessel_ratio.h, the coefficients a plan's (bessel_plan.py).
Both regions are computed where a plan has both: the series only in blocks that need it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bessel_plan import SIGMA, T0, T1, T2, Y_SCALE, E, M, N, V, polynomial, polynomial_slope
from .elementary import divide, ones_like, sqrt
from .ranges import BESSEL_HUGE, BESSEL_SERIES_BELOW

# ---- regions ---------------------------------------------------------------------


@triton.jit
def below_huge(x):
    """`x` up to where its square would overflow."""
    huge = BESSEL_HUGE[x.dtype == tl.float64]
    return tl.where(x > huge, huge, x)


@triton.jit
def past_huge(x):
    """(whether x is past that, that over x)"""
    huge = BESSEL_HUGE[x.dtype == tl.float64]
    return x > huge, divide(tl.zeros_like(x) + huge, tl.where(x > huge, x, huge))


@triton.jit
def in_series(plan, x):
    """Where the ascending series serve."""
    v = tl.load(plan + V)
    below = BESSEL_SERIES_BELOW[x.dtype == tl.float64]
    return x * x + v * v < below * below


@triton.jit
def any_of(mask):
    """Whether a block of one dimension has a true element."""
    return tl.max(mask.to(tl.int32), axis=0) > 0


@triton.jit
def frame(plan, x):
    """(h, 1 / h, 1 / (h + v), x / (h + v), the polynomials' argument) of Debye's expansion."""
    v = tl.load(plan + V)
    sigma = tl.load(plan + SIGMA)
    h = sqrt(x * x + v * v)
    hv = h + v
    inverse = divide(ones_like(x), h * hv)
    inv_h = inverse * hv
    inv_hv = inverse * h
    return h, inv_h, inv_hv, x * inv_hv, (sigma + sigma) * inv_h - 1.0


@triton.jit
def series_t0(plan, x, TERMS: tl.constexpr):
    """T0 - 1"""
    y = x * x * tl.load(plan + Y_SCALE)
    return y * polynomial(plan, T0, y, TERMS[1])


@triton.jit
def series_ratio(plan, x, TERMS: tl.constexpr):
    v = tl.load(plan + V)
    y = x * x * tl.load(plan + Y_SCALE)
    t0 = y * polynomial(plan, T0, y, TERMS[1]) + 1.0
    return divide(x, (v + v + 2.0) * t0) * polynomial(plan, T1, y, TERMS[1])


@triton.jit
def series_slope(plan, x, TERMS: tl.constexpr):
    y = x * x * tl.load(plan + Y_SCALE)
    inverse = divide(ones_like(x), y * polynomial(plan, T0, y, TERMS[1]) + 1.0)
    return polynomial(plan, T2, y, TERMS[2]) * inverse * inverse


# ---- the functions ---------------------------------------------------------------


@triton.jit
def bessel_ratio(plan, x, TERMS: tl.constexpr):
    """A"""
    x = below_huge(x)
    _, inv_h, inv_hv, _, s = frame(plan, x)
    out = x * (inv_hv - inv_h * inv_h * (polynomial(plan, E, s, TERMS[0]) + 0.5))
    if TERMS[1] > 0:
        low = in_series(plan, x)
        if any_of(low):
            out = tl.where(low, series_ratio(plan, tl.where(low, x, 0.0), TERMS), out)
    return out


@triton.jit
def bessel_ratio_complement(plan, x, TERMS: tl.constexpr):
    """1 - A"""
    past, ratio = past_huge(x)
    x = below_huge(x)
    v = tl.load(plan + V)
    h, inv_h, inv_hv, _, s = frame(plan, x)
    rest = x * inv_h * inv_h * (polynomial(plan, E, s, TERMS[0]) + 0.5)
    out = (v + v * divide(tl.zeros_like(x) + v, h + x)) * inv_hv + rest
    if TERMS[1] > 0:
        low = in_series(plan, x)
        if any_of(low):
            out = tl.where(low, 1.0 - series_ratio(plan, tl.where(low, x, 0.0), TERMS), out)
    return tl.where(past, out * ratio, out)


@triton.jit
def bessel_ratio_slope(plan, x, TERMS: tl.constexpr):
    """A'"""
    past, ratio = past_huge(x)
    x = below_huge(x)
    _, inv_h, inv_hv, _, s = frame(plan, x)
    t = tl.load(plan + V) * inv_h
    out = t * inv_hv + inv_h * inv_h * (0.5 - t * t - polynomial(plan, M, s, TERMS[0]))
    if TERMS[1] > 0:
        low = in_series(plan, x)
        if any_of(low):
            inside = series_slope(plan, tl.where(low, x, 0.0), TERMS)
            out = tl.where(low, inside, out)
    return tl.where(past, out * ratio * ratio, out)


@triton.jit
def series_curvature(plan, x, TERMS: tl.constexpr):
    v = tl.load(plan + V)
    scale = tl.load(plan + Y_SCALE)
    y = x * x * scale
    inverse = divide(ones_like(x), y * polynomial(plan, T0, y, TERMS[1]) + 1.0)
    t2 = polynomial(plan, T2, y, TERMS[2])
    # dT0/dy = T1 / (v + 1), with y the unscaled one
    falls = (
        (t2 + t2) * inverse * divide(polynomial(plan, T1, y, TERMS[1]), tl.zeros_like(x) + v + 1.0)
    )
    bracket = polynomial_slope(plan, T2, y, TERMS[2]) * (scale * 4.0) - falls
    return x * 0.5 * bracket * inverse * inverse


@triton.jit
def bessel_ratio_curvature(plan, x, TERMS: tl.constexpr):
    """A''"""
    past, ratio = past_huge(x)
    x = below_huge(x)
    v = tl.load(plan + V)
    h, inv_h, inv_hv, _, s = frame(plan, x)
    t = v * inv_h
    s2 = inv_h * inv_h
    lead = t * inv_hv * ((h + h + v) * inv_hv)
    out = -x * s2 * (lead + s2 * (1.0 - t * t * 4.0 - polynomial(plan, N, s, TERMS[0])))
    if TERMS[1] > 0:
        low = in_series(plan, x)
        if any_of(low):
            inside = series_curvature(plan, tl.where(low, x, 0.0), TERMS)
            out = tl.where(low, inside, out)
    return tl.where(past, out * ratio * ratio * ratio, out)

"""The curve of a rational-quadratic spline in a bin: csrc/math/rational_quadratic_spline.h."""

import triton
import triton.language as tl

from .elementary import exp, log1p_nonnegative, sqrt
from .engine.tiles import fetch
from .ranges import SPLINE_STEEPEST
from .softmax_bins import soft_clip, soft_clip_slope

# ---- derivatives at the knots ------------------------------------------------------


@triton.jit
def knot_derivative(raw, LEAST: tl.constexpr, CLIP: tl.constexpr):
    """LEAST + softplus(raw), as nflows, or exp(raw / (1 + |raw CLIP / 2|)), as zuko."""
    if CLIP != 0:
        return exp(soft_clip(raw, 0.5 * CLIP))
    else:
        softplus = tl.where(raw > 0.0, raw, 0.0) + log1p_nonnegative(exp(-tl.abs(raw)))
        d = softplus + LEAST
        steepest: tl.constexpr = SPLINE_STEEPEST[raw.dtype == tl.float64]
        return tl.where(d > steepest, steepest, d)


@triton.jit
def knot_derivative_slope(raw, derivative, CLIP: tl.constexpr):
    """Its derivative in the raw parameter."""
    if CLIP != 0:
        return derivative * soft_clip_slope(raw, 0.5 * CLIP)
    else:
        e = exp(-tl.abs(raw))
        return tl.where(raw < 0.0, e, 1.0) / (e + 1.0)


@triton.jit
def raw_derivatives(BOUNDARY: tl.constexpr, K: tl.constexpr):
    """How many there are: of the inner knots, of all but the last, or of all."""
    if BOUNDARY == "linear":
        return K - 1
    elif BOUNDARY == "circular":
        return K
    else:
        tl.static_assert(BOUNDARY == "none")
        return K + 1


@triton.jit
def ends_of(raw, at, mask, step, number, BOUNDARY: tl.constexpr, K: tl.constexpr,
            LEAST: tl.constexpr, CLIP: tl.constexpr):  # fmt: skip
    """(raw, derivative) of both ends of each element's bin.

    `at`: where the raw derivatives of the elements begin.  At the ends of a linear boundary, whose
    knots have none, the derivative is 1.
    """
    left = number - 1 if BOUNDARY == "linear" else number
    right = number if BOUNDARY == "linear" else number + 1
    if BOUNDARY == "circular":
        right = tl.where(right == K, 0, right)
    left_there = mask & (left >= 0)
    right_there = mask & (right < raw_derivatives(BOUNDARY, K))
    raw_left = fetch(raw, at + left.to(tl.int64) * step, left_there)
    raw_right = fetch(raw, at + right.to(tl.int64) * step, right_there)
    d_left = knot_derivative(raw_left, LEAST, CLIP)
    d_right = knot_derivative(raw_right, LEAST, CLIP)
    if BOUNDARY == "linear":
        d_left = tl.where(number == 0, 1.0, d_left)
        d_right = tl.where(number == K - 1, 1.0, d_right)
    return raw_left, raw_right, d_left, d_right


# ---- a bin --------------------------------------------------------------------------


@triton.jit
def curve_at(s, d0, d1, u, v):
    """(1 / D, N / D, E / D) at a position (u, v) of a bin."""
    uv = u * v
    inverse = 1.0 / (s * (u * u + v * v) + (d0 + d1) * uv)
    fraction = (s * (u * u) + d0 * uv) * inverse
    e = (d1 * (u * u) + (d0 * (v * v) + (s + s) * uv)) * inverse
    return inverse, fraction, e


@triton.jit
def root(s, d0, d1, p, q):
    """(u, v) where the curve has climbed to the fraction p = 1 - q of the bin's height."""
    b = q * d0 - p * d1
    total = tl.abs(b) + sqrt(b * b + (s * p) * 4.0 * (s * q))
    u = tl.where(b >= 0.0, (s + s) * p, total)
    v = tl.where(b >= 0.0, total, (s + s) * q)
    return u / (u + v), v / (u + v)


@triton.jit
def curve_pullback(s, d0, d1, u, v, inverse_d, fraction, e, height, grad_y, grad_log):
    """Gradients of u, of s while the height is kept, and of both derivatives.

    The table of the C++ header, where v moves with u.
    """
    uv = u * v
    tilt = v - u
    inverse_e = inverse_d / e
    reach = grad_y * height * inverse_d
    e_u = (d1 * u - d0 * v + s * tilt) * 2.0
    d_u = (d0 + d1 - s * 2.0) * tilt
    grad_u = reach * (s * e) + grad_log * (e_u * inverse_e - d_u * inverse_d * 2.0)
    turn = (d1 * u * u - d0 * v * v) * inverse_d
    grad_s = uv * (reach * turn + grad_log * 2.0 * ((d0 + d1) * inverse_d / s + inverse_e))
    both = grad_log * 2.0 * inverse_d
    grad_left = grad_log * (v * v * inverse_e) + uv * (reach * (1.0 - fraction) - both)
    grad_right = grad_log * (u * u * inverse_e) - uv * (reach * fraction + both)
    return grad_u, grad_s, grad_left, grad_right

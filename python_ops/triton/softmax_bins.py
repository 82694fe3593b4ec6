"""An interval divided into bins by a softmax of raw parameters: csrc/math/softmax_bins.h.

A block is bins x elements: the bins of an element lie along axis 0.  In float32 a number of an
axis has two parts, `high`, a multiple of 2^-16 whose sums are exact, and `low`, the rest; in
float64 `low` is 0.  Contraction of products and sums changes nothing that must be exact: where a
part is split off, only additions and products without a rounding are involved.
"""

import triton
import triton.language as tl

from .elementary import horner, power_of_two, rint
from .polynomials import EXP
from .ranges import SPLINE_LOWEST


@triton.jit
def on_grid(x):
    """The multiple of 2^-16 nearest to |x| < 64."""
    return (x + 192.0) - 192.0


@triton.jit
def leading_bits(x):
    """The leading 12 bits of a float32: products of two such numbers are exact."""
    return (x.to(tl.int32, bitcast=True) & -4096).to(tl.float32, bitcast=True)


@triton.jit
def product(a, b):
    """The product to twice float32's precision, in two parts."""
    a_high = leading_bits(a)
    b_high = leading_bits(b)
    return a_high * b_high, tl.fma(a - a_high, b, a_high * (b - b_high))


@triton.jit
def soft_clip(r, SLOPE: tl.constexpr):
    """r / (1 + |r SLOPE|)."""
    return r / (tl.abs(r * SLOPE) + 1.0)


@triton.jit
def soft_clip_slope(r, SLOPE: tl.constexpr):
    """The derivative of soft_clip."""
    q = 1.0 / (tl.abs(r * SLOPE) + 1.0)
    return q * q


@triton.jit
def grid_exp(x, shift):
    """e^x 2^-shift in two parts."""
    n = rint(x * 1.4426950408889634074)
    if x.dtype == tl.float64:
        r = n * -6.93147180369123816490e-01 + x
        r = n * -1.90821492927058770002e-10 + r
        p = r * r * horner(r, EXP) + r
        return (p + 1.0) * power_of_two(n - shift), tl.zeros_like(x)
    else:
        # x - n log 2 = r + r_low; the first difference is exact.
        exact = n * -0.693359375 + x
        rest = n * 2.12194440e-4
        r = exact + rest
        r_low = rest - (r - exact)
        # e^r - 1 = p + r_low, and 1 + p in two parts.
        p = tl.fma(r * r, horner(r, EXP), r)
        first = p + 1.0
        second = (p - (first - 1.0)) + r_low
        power = power_of_two(n - shift)
        a = first * power
        high = on_grid(a)
        return high, tl.fma(second, power, a - high)


@triton.jit
def weigh_bins(raw, there, K: tl.constexpr, SCALE: tl.constexpr, CLIP: tl.constexpr,
               FLOOR: tl.constexpr):  # fmt: skip
    """The bins of one axis: (high, low) of their widths, their weights e^(r - max) up to a common
    factor, the sum of these, and (high, low) of the sum of the widths.

    Widths are in units of the last.  `there`: which of the block's bins there are, K of them.
    """
    r = raw * SCALE
    if CLIP != 0:
        r = soft_clip(r, CLIP)
    r = tl.where(there, r, float("-inf"))
    top = tl.max(r, axis=0)
    # Multiples of log 2 are subtracted exactly from numbers that are not huge.
    away = tl.where(tl.abs(top) > 1000.0, top, 0.0)
    r = r - away[None, :]
    top = top - away
    lowest = (top + SPLINE_LOWEST[raw.dtype == tl.float64])[None, :]
    r = tl.where(r < lowest, lowest, r)
    high, low = grid_exp(r, rint(top * 1.4426950408889634074)[None, :])
    high = tl.where(there, high, 0.0)
    low = tl.where(there, low, 0.0)
    sum_high = tl.sum(high, axis=0)
    sum_low = tl.sum(low, axis=0)
    weights = high + low
    total = sum_high + sum_low
    floor = total * FLOOR
    floor_low = tl.zeros_like(floor)
    if raw.dtype != tl.float64:
        floor_high = on_grid(floor)
        floor_low = floor - floor_high
        floor = floor_high
    # The number of bins times a multiple of 2^-16 is exact.
    total_high = floor * K + sum_high
    total_low = floor_low * K + sum_low
    width_high = tl.where(there, high + floor[None, :], 0.0)
    width_low = tl.where(there, low + floor_low[None, :], 0.0)
    return width_high, width_low, weights, total, total_high, total_low


@triton.jit
def bin_position(total_high, total_low, x, INVERSE_HIGH: tl.constexpr, INVERSE_LOW: tl.constexpr):
    """x in [-B, B] in units of the widths, (high, low): (x + B) / (2 B) total.

    INVERSE_HIGH and INVERSE_LOW: 1 / (2 B), the first of 12 bits in float32.
    """
    if x.dtype == tl.float64:
        return total_high * (x * INVERSE_HIGH + 0.5), tl.zeros_like(x)
    else:
        # x / (2 B) = p, then total p + total / 2.
        x_high = leading_bits(x)
        p_high = x_high * INVERSE_HIGH
        p_low = (x - x_high) * INVERSE_HIGH + x * INVERSE_LOW
        t_high, t_low = product(total_high, p_high)
        t_low += total_high * p_low + total_low * (p_high + p_low + 0.5)
        middle = total_high * 0.5
        high = on_grid(middle + t_high)
        return high, ((middle - high) + t_high) + t_low


@triton.jit
def pick(values, chosen):
    """Of each element's bins the values of the chosen one."""
    return tl.sum(tl.where(chosen, values, 0.0), axis=0)


@triton.jit
def find_bins(width_high, width_low, there, place, high, low):
    """(number, u, v, width) of the last bin that begins at or before a position (high, low).

    u, v: the position's distances from both ends of the bin, divided by its width.  `place`: the
    numbers of the bins.
    """
    start_high = tl.cumsum(width_high, axis=0) - width_high
    start_low = tl.cumsum(width_low, axis=0) - width_low
    left = (high[None, :] - start_high) + (low[None, :] - start_low)
    number = tl.max(tl.where(there & (left >= 0.0), place, 0), axis=0)
    chosen = place == number[None, :]
    distance = pick(left, chosen)
    width = pick(width_high + width_low, chosen)
    before = tl.where(distance > 0.0, distance, 0.0)
    after = width - distance
    return number, before / width, tl.where(after > 0.0, after, 0.0) / width, width


@triton.jit
def bin_point(total_high, total_low, start_high, start_low, width, fraction,
              BOUND: tl.constexpr):  # fmt: skip
    """What lies a fraction of the bin's width beyond its beginning, in [-BOUND, BOUND]."""
    # B (2 (start + width fraction) - total) / total, and what the quotient lost.
    inverse = 1.0 / (total_high + total_low)
    beyond = width * 2.0 * fraction + (start_low * 2.0 - total_low)
    knot = start_high * 2.0 - total_high
    centred = knot + beyond
    quotient = centred * inverse
    point = quotient * BOUND
    if width.dtype != tl.float64:
        added = centred - knot
        lost = (knot - (centred - added)) + (beyond - added)
        back_high, back_low = product(quotient, total_high)
        rest = ((centred - back_high) - back_low) + (lost - quotient * total_low)
        point = tl.fma(quotient, tl.zeros_like(quotient) + BOUND, rest * inverse * BOUND)
    point = tl.where(point < -BOUND, -BOUND, point)
    return tl.where(point > BOUND, BOUND, point)


@triton.jit
def bin_gradients(
    weights, total, place, number, grad_start, grad_width, raw, BOUND: tl.constexpr,
    SHARE: tl.constexpr, SCALE: tl.constexpr, CLIP: tl.constexpr,
):  # fmt: skip
    """The gradients of the raw parameters, from those of where the chosen bin begins and of its
    width, both in units of x.

    With p the softmax and P_k the sum of the p_i before bin k, d x_k / d r_i = 2 B SHARE p_i
    ([i < k] - P_k) and d w_k / d r_i = 2 B SHARE p_i ([i = k] - p_k).
    """
    inverse = 1.0 / total
    before = tl.sum(tl.where(place < number[None, :], weights, 0.0), axis=0)
    at = pick(weights, place == number[None, :])
    common = (grad_start * before + grad_width * at) * inverse
    own = tl.where(place == number[None, :], grad_width[None, :], 0.0)
    own = tl.where(place < number[None, :], grad_start[None, :], own)
    unit = inverse * (2.0 * BOUND * SHARE) * SCALE
    grads = (unit[None, :] * weights) * (own - common[None, :])
    if CLIP != 0:
        grads = grads * soft_clip_slope(raw * SCALE, CLIP)
    return grads

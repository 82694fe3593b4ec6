"""Elementary functions for Triton kernels, float32 and float64.

`tl.math` has exp2, exp and log; log1p, tanh and atan are in vendors' libraries, which
the interpreter lacks, and its float32 exp loses digits with the size of the argument.
These functions are made of what every backend and the interpreter share, by the methods and
with the coefficients of csrc/math/elementary.h.

Accuracy: 2.5 ulp (tests/triton/test_elementary.py), one more on a GPU, where float32
exp2 and `/` are good to 2 ulp.  Limits, infinities and NaN are those of C99 Annex F; `sincos` has
the domain given there.

Triton turns Python numbers into the type of the tensor they meet, so that every
constant is rounded once.
"""

import triton
import triton.language as tl

from .polynomials import ATAN, COS, SIN, TANH
from .ranges import (
    ATAN_LARGEST,
    EXP_HIGHEST,
    EXP_LOWEST,
    LOG1P_SMALLEST,
    SMALLEST_NORMAL,
)


@triton.jit
def horner(x, POLYNOMIAL: tl.constexpr):
    """c0 + c1 x + ... of one of polynomials.py."""
    r = tl.zeros_like(x) + POLYNOMIAL[x.dtype == tl.float64][-1]
    for i in tl.static_range(2, len(POLYNOMIAL[x.dtype == tl.float64]) + 1):
        r = r * x + POLYNOMIAL[x.dtype == tl.float64][-i]
    return r


@triton.jit
def ones_like(x):
    """1 in the type of x."""
    return tl.zeros_like(x) + 1.0


@triton.jit
def divide(a, b):
    """The quotient, correctly rounded."""
    if b.dtype == tl.float64:
        return a / b
    else:
        return tl.math.div_rn(a, b)


@triton.jit
def sqrt(x):
    """The square root, correctly rounded."""
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.math.sqrt_rn(x)


@triton.jit
def copysign(magnitude, sign):
    """The nonnegative `magnitude` with the sign of `sign`."""
    if sign.dtype == tl.float64:
        bit = sign.to(tl.int64, bitcast=True) & -9223372036854775808
        return (magnitude.to(tl.int64, bitcast=True) | bit).to(tl.float64, bitcast=True)
    else:
        bit = sign.to(tl.int32, bitcast=True) & -2147483648
        return (magnitude.to(tl.int32, bitcast=True) | bit).to(tl.float32, bitcast=True)


@triton.jit
def rint(x):
    """The nearest integer, of two the even one."""
    # Adding 1.5 * 2^(mantissa bits) rounds to an integer.
    if x.dtype == tl.float64:
        return (x + 6755399441055744.0) - 6755399441055744.0
    else:
        return (x + 12582912.0) - 12582912.0


@triton.jit
def power_of_two(n):
    """2^n for integral n where it is a normal number."""
    # The integer lies in the low bits of n + 1.5 * 2^(mantissa bits).
    if n.dtype == tl.float64:
        bits = ((n + 6755399441055744.0).to(tl.int64, bitcast=True) << 52) + 4607182418800017408
        return bits.to(tl.float64, bitcast=True)
    else:
        bits = ((n + 12582912.0).to(tl.int32, bitcast=True) << 23) + 1065353216
        return bits.to(tl.float32, bitcast=True)


@triton.jit
def scale_by_power(p, n):
    """The product p 2^n for integral n, in two factors so that gradual underflow rounds once."""
    half = rint(n * 0.5)
    return p * power_of_two(half) * power_of_two(n - half)


@triton.jit
def clamp(x, low, high):
    """Bounds x by two numbers; NaN stays."""
    x = tl.where(x < low, low, x)
    return tl.where(x > high, high, x)


@triton.jit
def exp(x):
    """e^x: 0 below, infinity above; subnormal results are rounded once."""
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        x = clamp(x, EXP_LOWEST[0], EXP_HIGHEST[0])
        n = rint(x * 1.44269504088896341)
        r = n * -0.693359375 + x
        r = n * 2.12194440e-4 + r
        return scale_by_power(tl.exp2(r * 1.44269504088896341), n)


@triton.jit
def log(x):
    """The logarithm, of subnormal numbers too, which float32 `tl.log` takes for 0 on a GPU."""
    if x.dtype == tl.float64:
        return tl.log(x)
    else:
        subnormal = x < SMALLEST_NORMAL[0]
        lifted = tl.where(subnormal, x * 16777216.0, x)
        return tl.log(lifted) - tl.where(subnormal, 16.635532333438686, 0.0)


@triton.jit
def log1p(x):
    """log(u) + (x - (u - 1)) / u with u = fl(1 + x)."""
    u = x + 1.0
    lost = tl.where(x > 1.0, 1.0 - (u - x), x - (u - 1.0))
    result = tl.log(u) + lost / u
    # keeps -0 and subnormals
    result = tl.where(tl.abs(x) < LOG1P_SMALLEST[x.dtype == tl.float64], x, result)
    result = tl.where(x == float("inf"), x, result)
    return tl.where(x == -1.0, float("-inf"), result)


@triton.jit
def log1p_nonnegative(y):
    """log(1 + y) for 0 <= y < infinity."""
    u = y + 1.0
    # What u lost, over u: 2 - u will do, and above 1 the loss no longer matters.
    return tl.log(u) + tl.where(y < 1.0, y - (u - 1.0), 0.0) * (2.0 - u)


@triton.jit
def tanh(x):
    """An odd polynomial near 0, else 1 - 2 / (e^2|x| + 1)."""
    a = tl.abs(x)
    z = x * x
    small = x * z * horner(z, TANH) + x
    # The rounding of exp2's argument hardly reaches the result.
    e = tl.exp(a + a) if x.dtype == tl.float64 else tl.exp2(a * 2.88539008177792681)
    large = 1.0 - 2.0 / (e + 1.0)
    return tl.where(a < 0.625, small, copysign(large, x))


@triton.jit
def atan2_quadrant(y, x):
    """The angle of (x, y), both >= 0 and not both 0, by one division.

    The smaller over the larger, reduced once more by pi/4 above 0.6.
    """
    swap = y > x
    low = tl.where(swap, x, y)
    high = tl.where(swap, y, x)
    turned = low > high * 0.6
    q = tl.where(turned, low - high, low) / tl.where(turned, low + high, high)
    z = q * q
    # What the constants below lack of pi/4 and pi/2 goes into the small terms.
    small = q * z * horner(z, ATAN)
    if x.dtype == tl.float64:
        r = tl.where(turned, small + 3.0616169978683830e-17, small) + q
        r = tl.where(turned, r + 0.78539816339744830962, r)
        turn = 1.57079632679489661923 - (r - 6.1232339957367660e-17)
    else:
        r = tl.where(turned, small - 2.18556941e-8, small) + q
        r = tl.where(turned, r + 0.78539816339744830962, r)
        turn = 1.57079632679489661923 - (r + 4.37113883e-8)
    return tl.where(swap, turn, r)


@triton.jit
def atan(x):
    """The angle whose tangent is x."""
    a = tl.abs(x)
    largest = ATAN_LARGEST[x.dtype == tl.float64]
    a = tl.where(a > largest, largest, a)
    r = atan2_quadrant(a, a * 0.0 + 1.0)
    return tl.where(x == x, copysign(r, x), x)


@triton.jit
def atan2(y, x):
    """The angle of (x, y) in [-pi, pi], 0 at the origin."""
    ay = tl.abs(y)
    ax = tl.abs(x)
    r = tl.where((ay == 0.0) & (ax == 0.0), 0.0, atan2_quadrant(ay, ax))
    r = tl.where(x < 0.0, 3.14159265358979323846 - r, r)
    return copysign(r, y)


@triton.jit
def sincos(x):
    """(sin x, cos x), |x| <= 8192 in float32, 1e5 in float64."""
    if x.dtype == tl.float64:
        shifted = x * 0.63661977236758134308 + 6755399441055744.0
        n = shifted - 6755399441055744.0
        quadrant = shifted.to(tl.int64, bitcast=True)
        r = n * -1.57079625129699707031 + x
        r = n * -7.54978941586159635335e-8 + r
        r = n * -5.39030285815811905290e-15 + r
    else:
        shifted = x * 0.63661977236758134308 + 12582912.0
        n = shifted - 12582912.0
        quadrant = shifted.to(tl.int32, bitcast=True)
        r = n * -1.5703125 + x
        r = n * -4.837512969970703125e-4 + r
        part = n * 7.549533620476723e-8
        rounded = r - part
        r = rounded - (n * 2.563344151594519e-12 + (part - (r - rounded)))
    z = r * r
    s = copysign(tl.abs(r * z * horner(z, SIN) + r), r)  # -0 for -0
    c = 1.0 - (z * 0.5 - z * z * horner(z, COS))
    # Quadrant q: sin is s, c, -s, -c and cos is c, -s, -c, s.
    odd = (quadrant & 1) != 0
    sine = tl.where(odd, c, s)
    cosine = tl.where(odd, s, c)
    sine = tl.where((quadrant & 2) != 0, -sine, sine)
    cosine = tl.where(((quadrant + 1) & 2) != 0, -cosine, cosine)
    return sine, cosine

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


@triton.jit
def poly3(x, c0, c1, c2):
    """c0 + c1 x + c2 x^2; a longer polynomial takes a shorter one as its last coefficient."""
    return (c2 * x + c1) * x + c0


@triton.jit
def poly4(x, c0, c1, c2, c3):
    """c0 + c1 x + c2 x^2 + c3 x^3."""
    return ((c3 * x + c2) * x + c1) * x + c0


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
def _rint(x):
    # Adding 1.5 * 2^(mantissa bits) rounds to an integer.
    if x.dtype == tl.float64:
        return (x + 6755399441055744.0) - 6755399441055744.0
    else:
        return (x + 12582912.0) - 12582912.0


@triton.jit
def _power_of_two(n):
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
    half = _rint(n * 0.5)
    return p * _power_of_two(half) * _power_of_two(n - half)


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
        x = clamp(x, -104.0, 89.0)
        n = _rint(x * 1.44269504088896341)
        r = n * -0.693359375 + x
        r = n * 2.12194440e-4 + r
        return scale_by_power(tl.exp2(r * 1.44269504088896341), n)


@triton.jit
def log1p(x):
    """log(u) with u = fl(1 + x), plus the part of x that u has lost, over u."""
    u = x + 1.0
    lost = tl.where(x > 1.0, 1.0 - (u - x), x - (u - 1.0))
    result = tl.log(u) + lost / u
    if x.dtype == tl.float64:
        result = tl.where(tl.abs(x) < 1e-18, x, result)  # keeps -0 and subnormals
    else:
        result = tl.where(tl.abs(x) < 1e-9, x, result)
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
    if x.dtype == tl.float64:
        p = poly4(z, 0.00009603829184742069054, -0.00003707610183975953836,
                  0.00001220486857005729135, -2.436586560586349794e-6)  # fmt: skip
        p = poly4(z, 0.003592127503831025782, -0.001455828363123340595, 0.0005899815811274601107,
                  p * z - 0.0002388884477697047741)  # fmt: skip
        p = poly4(z, -0.3333333333333333332, 0.1333333333333332062, -0.05396825396823571837,
                  poly3(z, 0.02186948853512389891, -0.008863235499557543216, p))  # fmt: skip
    else:
        p = poly3(z, -0.3333333317, 0.1333330342,
                  poly4(z, -0.05395922726, 0.0217686558, -0.008343085219,
                        0.002291770456))  # fmt: skip
    small = x * z * p + x
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
    if x.dtype == tl.float64:
        p = poly4(z, 0.0281617910774876753, -0.01893379104411035159, 0.008989989758912257501,
                  -0.002175226959571659621)  # fmt: skip
        p = poly4(z, 0.04759866820150048304, -0.04334907686141406575, 0.03937883108883153791,
                  p * z - 0.03476428472873337374)  # fmt: skip
        p = poly4(z, 0.07692307632322025345, -0.06666665315316703678, 0.05882331688293126036,
                  p * z - 0.05262916094089215609)  # fmt: skip
        p = poly4(z, -0.1428571428571398868, 0.1111111111107961924, -0.09090909089147151203, p)
        p = poly3(z, -0.3333333333333333333, 0.1999999999999999889, p)
    else:
        p = poly4(z, 0.1106720471, -0.08721823671, 0.06021323322, -0.02471743211)
        p = poly4(z, -0.3333333313, 0.1999994348, -0.1428316287, p)
    # What the constants below lack of pi/4 and pi/2 goes into the small terms.
    small = q * z * p
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
    if x.dtype == tl.float64:
        a = tl.where(a > 1e300, 1e300, a)
    else:
        a = tl.where(a > 1e30, 1e30, a)
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
    """(sin x, cos x), |x| <= 32 in float32 (8192 with fused multiply-adds), 1e5 in float64."""
    if x.dtype == tl.float64:
        shifted = x * 0.63661977236758134308 + 6755399441055744.0
        n = shifted - 6755399441055744.0
        quadrant = shifted.to(tl.int64, bitcast=True)
        r = n * -1.57079625129699707031 + x
        r = n * -7.54978941586159635335e-8 + r
        r = n * -5.39030285815811905290e-15 + r
        z = r * r
        ps = poly4(z, 2.755731921932057977e-6, -2.505210622599440069e-8, 1.605853059664595471e-10,
                   -7.586636882825159649e-13)  # fmt: skip
        ps = poly4(z, -0.1666666666666666667, 0.008333333333333331481, -0.0001984126984126504105,
                   ps)  # fmt: skip
        pc = poly4(z, -2.755731922139249065e-7, 2.087675578749260595e-9,
                   -1.147046031920951184e-11, 4.745838412531022965e-14)  # fmt: skip
        pc = poly4(z, 0.04166666666666666667, -0.001388888888888888786, 0.00002480158730158463314,
                   pc)  # fmt: skip
    else:
        shifted = x * 0.63661977236758134308 + 12582912.0
        n = shifted - 12582912.0
        quadrant = shifted.to(tl.int32, bitcast=True)
        r = n * -1.5703125 + x
        r = n * -4.837512969970703125e-4 + r
        r = n * -7.54978942871093750e-8 + r
        r = n * -5.3903025299577648e-15 + r
        z = r * r
        ps = poly3(z, -0.1666666466, 0.008332747105, -0.000195876391)
        pc = poly3(z, 0.04166666465, -0.001388830187, 2.454768977e-5)
    s = r * z * ps + r
    c = 1.0 - (z * 0.5 - z * z * pc)
    # Quadrant q: sin is s, c, -s, -c and cos is c, -s, -c, s.
    odd = (quadrant & 1) != 0
    sine = tl.where(odd, c, s)
    cosine = tl.where(odd, s, c)
    sine = tl.where((quadrant & 2) != 0, -sine, sine)
    cosine = tl.where(((quadrant + 1) & 2) != 0, -cosine, cosine)
    return sine, cosine

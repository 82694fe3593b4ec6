"""Ranges and limits of the mathematics: csrc/math/ranges.h, which says what each is.

Written by csrc/math/tables/ranges.py; do not edit.  What differs between the precisions
is a pair: `NAME[x.dtype == tl.float64]`.
"""

import triton.language as tl

# fmt: off
PROJECTION_SQUARE = tl.constexpr((1e+16, 1e+100))
PROJECTION_LARGEST = tl.constexpr(1e+140)
PROJECTION_LIFT = tl.constexpr(2.0**-600)
LARGEST = tl.constexpr((3.4028234e+38, 1.7976931348623157e+308))
SLERP_PARALLEL = tl.constexpr((1e-32, 1e-302))
SLERP_ALONG = tl.constexpr(0.25)
EXP_LOWEST = tl.constexpr((-104.0, -746.0))
EXP_HIGHEST = tl.constexpr((89.0, 710.0))
EXPM1_LOWEST = tl.constexpr((-18.0, -38.0))
TANH_LOWEST = tl.constexpr((-20.0, -42.0))
LOG1P_SMALLEST = tl.constexpr((1e-09, 1e-18))
ATAN_LARGEST = tl.constexpr((1e+30, 1e+300))
SMALLEST_NORMAL = tl.constexpr((1.17549435e-38, 2.2250738585072014e-308))
LOG_GAMMA_BELOW = tl.constexpr(28)
BESSEL_SERIES_BELOW = tl.constexpr((12, 28))
BESSEL_HUGE = tl.constexpr((1e+18, 1e+150))
BESSEL_UNIT = tl.constexpr((5.960464477539063e-08, 1.1102230246251565e-16))
QUOTIENT_SMALL = tl.constexpr((1e-18, 1e-150))
QUOTIENT_LIFT = tl.constexpr((2.0**64, 2.0**600))
QUOTIENT_LOG_LIFT = tl.constexpr((44.3614195558365, 415.88830833596717))
ORDER_DOWN = tl.constexpr((2.0**-70, 2.0**-520))
ORDER_SERIES_TERMS = tl.constexpr((22, 46))
ORDER_DEBYE_TERMS = tl.constexpr((10, 18))
CONCENTRATION_STEPS = tl.constexpr((2, 4))
SAMPLE_ROUNDS = tl.constexpr(32)
SAMPLE_SMALLEST = tl.constexpr(1e-150)
COUPLING_ATAN_SLOPE = tl.constexpr(0.636)
COUPLING_SIGMOID_SHIFT = tl.constexpr(2.0)
COUPLING_SOFTPLUS_FLOOR = tl.constexpr(0.001)
COUPLING_SOFTPLUS_CEILING = tl.constexpr(3.0)

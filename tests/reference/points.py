"""The orders and arguments at which the special functions are tabulated, as exact doubles.

They cover every region of the kernels and both sides of each boundary: h = sqrt(v^2 + x^2) = 28
in float64 and 12 in float32, x = v, and the orders at which the number of terms changes. Most
arguments are exact in float32, so that one table suffices for both precisions.
"""

from __future__ import annotations

import math

import numpy as np

DIMS = [
    2, 3, 4, 5, 6, 8, 11, 13, 16, 21, 22, 23, 26, 33, 48, 57, 58, 59, 67, 130, 201, 300, 402,
    785, 1001, 3073, 10007, 131072, 1000000,
]  # fmt: skip
ORDERS = [
    0.0, 0.25, 0.5, 1.0, 1.5, 2.75, 5.5, 9.75, 10.0, 13.5, 20.125, 27.75, 28.0, 31.25, 63.0,
    100.5, 391.5, 1023.75, 4096.5, 49999.5, 500000.0,
]  # fmt: skip
_SIZES = [
    1e-30, 1e-12, 3e-8, 2e-5, 1e-3, 0.03, 0.3, 1.0, 2.5, 5.0, 7.7, 10.5, 15.0, 20.0, 27.0, 40.0,
    90.0, 300.0, 1.3e3, 2e4, 1e6, 3e8, 1e12, 1e20, 1e30,
]  # fmt: skip
_TIMES_ORDER = [0.02, 0.2, 0.6, 1.0, 1.9, 5.0, 50.0]
_ONLY_FLOAT64 = [1e-150, 1e-60, 1e60, 1e100]


def _float32(x: float) -> float:
    return float(np.float32(x))


def _boundary(h: float, v: float, step: float) -> list[float]:
    if v >= h:
        return []
    x = math.sqrt((h - v) * (h + v))
    return [x * (1 - step), x * (1 + step)]


def arguments(v: float) -> list[float]:
    """Arguments at the order v, ascending, 0 first."""
    # different arguments at every order
    shift = 1 + 0.4 * ((v * 0.6180339887498949) % 1)
    own = [_float32(x * shift) for x in _SIZES]
    own += [_float32(max(v, 1) * t * shift) for t in _TIMES_ORDER]
    own += [_float32(x) for x in _boundary(12.0, v, 1e-6)] + _boundary(28.0, v, 1e-15)
    if v:
        own += [_float32(v * (1 - 1e-6)), _float32(v), _float32(v * (1 + 1e-6))]
    return sorted({0.0, *own, *(x * shift for x in _ONLY_FLOAT64)})


def vmf_points() -> list[tuple[int, float]]:
    """(p, kappa)."""
    return [(p, kappa) for p in DIMS for kappa in arguments(p / 2 - 1)]


def log_iv_points() -> list[tuple[float, float]]:
    """(v, x)."""
    return [(v, x) for v in ORDERS for x in arguments(v)[:: 1 if v < 30 else 2]]

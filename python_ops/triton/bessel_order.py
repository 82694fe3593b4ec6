"""bessel_order in Triton: log I_v, I_{v+1} / I_v and their derivatives, an order per element.

The formulas are those of csrc/math/bessel_order.h: series on the ratios of their terms, and
Debye's double sum over tables in the memory of the device.  Orders and arguments outside
the domain give NaN.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._extension import _C
from .bessel import ENTRIES
from .bessel_ratio import any_of
from .elementary import divide, horner, log1p_nonnegative, ones_like, sqrt
from .engine.calls import Call, planned
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import ceil_div, contiguous, power_of_two, warps
from .engine.table import make_table
from .engine.tiles import fetch, positions
from .log_iv import debye_log_iv, log_power, order_over
from .polynomials import LOG_GAMMA
from .ranges import (
    BESSEL_HUGE,
    BESSEL_SERIES_BELOW,
    LOG_GAMMA_BELOW,
    ORDER_DEBYE_TERMS,
    ORDER_DOWN,
    ORDER_SERIES_TERMS,
)

ELEMENTS = 512

# Where the tables of d, e and m begin; polynomial k has k + 1 coefficients, m's one more.
D = tl.constexpr(0)
E = tl.constexpr(189)
M = tl.constexpr(378)


@lru_cache(maxsize=64)
def tables(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The tables of Debye's expansion as memory of the device."""
    numbers = [c for name in ("d", "e", "m") for row in _C.debye_table(name) for c in row]
    return make_table(numbers, dtype, device)


# ---- series ----------------------------------------------------------------------


@triton.jit
def order_t0(v, y):
    """T0 - 1 of order v; T1 is 1 + this of order v + 1."""
    total = tl.zeros_like(y)
    terms = ORDER_SERIES_TERMS[y.dtype == tl.float64]
    for i in range(terms):
        k = tl.cast(terms - i, y.dtype)
        total = divide(y, k * (v + k)) * (total + 1.0)
    return total


@triton.jit
def order_t2(v, y):
    """T2 and dT2/dy."""
    term = divide(tl.zeros_like(y) + 0.5, v + 1.0)
    total = term
    slope = tl.zeros_like(y)
    for i in range(1, ORDER_SERIES_TERMS[y.dtype == tl.float64] * 3 // 2):
        k = tl.cast(i, y.dtype)
        above = 2.0 * (v + v + (k + k - 1.0))
        lowered = term * divide(above, k * (v + v + k + 1.0) * (v + k + 1.0))
        term = lowered * y
        total += term
        slope += k * lowered
    return total, slope


@triton.jit
def series_ratio(v, x, y):
    t1 = order_t0(v + 1.0, y) + 1.0
    return divide(divide(x * 0.5, v + 1.0) * t1, order_t0(v, y) + 1.0)


@triton.jit
def log_gamma_1p(v):
    """log Gamma(1 + v) for 0 <= v < 28: csrc/math/log_gamma.h."""
    whole = tl.floor(v)
    f = v - whole
    product = tl.zeros_like(v) + 1.0
    for j in range(1, LOG_GAMMA_BELOW):
        step = tl.cast(j, v.dtype)
        product *= tl.where(step <= whole, f + step, 1.0)
    return f * (f - 1.0) * horner(f, LOG_GAMMA) + tl.log(product)


# ---- Debye's expansion -----------------------------------------------------------------


@triton.jit
def double_sum(table, PLACE: tl.constexpr, EXTRA: tl.constexpr, s, q):
    """sum_k s^k p_k(q) for one of the tables."""
    total = tl.zeros_like(s)
    terms = ORDER_DEBYE_TERMS[s.dtype == tl.float64]
    for i in range(terms):
        k = terms - i
        first = PLACE + k * (k - 1) // 2 + (k - 1) * (1 + EXTRA)
        inner = tl.zeros_like(s)
        for j in range(k + 1 + EXTRA):
            inner = inner * q + tl.load(table + first + (k + EXTRA - j))
        total = (total + inner) * s
    return total


@triton.jit
def third_sum(table, s, q):
    """The same for (k + 2) m_k + 2 q m_k'."""
    total = tl.zeros_like(s)
    terms = ORDER_DEBYE_TERMS[s.dtype == tl.float64]
    for i in range(terms):
        k = terms - i
        first = M + k * (k - 1) // 2 + (k - 1) * 2
        inner = tl.zeros_like(s)
        for j in range(k + 2):
            power = k + 1 - j
            factor = tl.cast(k + 2 + 2 * power, s.dtype)
            inner = inner * q + factor * tl.load(table + first + power)
        total = (total + inner) * s
    return total


@triton.jit
def frame(v, x):
    """(h, 1 / h, (v / h)^2), scaled so that neither square overflows."""
    large = tl.where(v > x, v, x) > BESSEL_HUGE[x.dtype == tl.float64]
    one = ones_like(x)
    down = tl.where(large, ORDER_DOWN[x.dtype == tl.float64], one)
    up = tl.where(large, 1.0 / ORDER_DOWN[x.dtype == tl.float64], one)
    h = sqrt((v * down) * (v * down) + (x * down) * (x * down)) * up
    s = divide(ones_like(x), h)
    t = v * s
    return h, s, t * t


# ---- the functions ---------------------------------------------------------------------


@triton.jit
def debye_value(table, v, x, FUNCTION: tl.constexpr):
    h, s, q = frame(v, x)
    t = v * s
    if FUNCTION == "log_iv":
        return debye_log_iv(h, v, x, double_sum(table, D, 0, s, q))
    elif FUNCTION == "log_iv_slope":
        return divide(h, x) - (x * s) * s * (double_sum(table, E, 0, s, q) + 0.5)
    elif FUNCTION == "log_iv_curvature":
        r = divide(v, x)
        return s * s * (0.5 - q - double_sum(table, M, 1, s, q)) - r * (r * s)
    elif FUNCTION == "ratio":
        # x s and 1 / (1 + t) rather than x / (h + v): no overflow, and 1 at infinity
        xs = tl.where(x == float("inf"), 1.0, x * s)
        inverse = divide(ones_like(x), t + 1.0)
        return xs * (inverse - s * (double_sum(table, E, 0, s, q) + 0.5))
    elif FUNCTION == "ratio_slope":
        return s * divide(t, t + 1.0) + s * s * (0.5 - q - double_sum(table, M, 1, s, q))
    else:
        r = divide(ones_like(x), t + 1.0)
        rest = s * (1.0 - 4.0 * q - third_sum(table, s, q))
        return -(x * s) * s * s * (t * r * r * (t + 2.0) + rest)


@triton.jit
def series_value(v, x, FUNCTION: tl.constexpr):
    y = x * x * 0.25
    if FUNCTION == "log_iv":
        return log_power(v, x) - log_gamma_1p(v) + log1p_nonnegative(order_t0(v, y))
    elif FUNCTION == "log_iv_slope":
        return series_ratio(v, x, y) + order_over(v, x)
    elif FUNCTION == "ratio":
        return series_ratio(v, x, y)
    else:
        t2, slope = order_t2(v, y)
        inverse = divide(ones_like(x), order_t0(v, y) + 1.0)
        if FUNCTION == "ratio_curvature":
            t1 = order_t0(v + 1.0, y) + 1.0
            bracket = slope - divide((t2 + t2) * inverse * t1, v + 1.0)
            return x * 0.5 * bracket * inverse * inverse
        elif FUNCTION == "ratio_slope":
            return t2 * inverse * inverse
        else:
            return t2 * inverse * inverse - order_over(order_over(v, x), x)


@triton.jit
def value_of(table, v, x, FUNCTION: tl.constexpr, LOWEST: tl.constexpr):
    limit = BESSEL_SERIES_BELOW[x.dtype == tl.float64]
    low = (v < limit) & (x < limit) & (v * v + x * x < limit * limit)
    out = debye_value(table, v, x, FUNCTION)
    if any_of(low):
        out = tl.where(
            low, series_value(tl.where(low, v, 0.0), tl.where(low, x, 0.0), FUNCTION), out
        )
    if FUNCTION == "log_iv":
        out = tl.where((x == float("inf")) & (v < x), x, out)
    return tl.where((x < 0.0) | (v < LOWEST), float("nan"), out)


@triton.jit
def forward_kernel(
    x, order, table, out, n, FUNCTION: tl.constexpr, LOWEST: tl.constexpr, ELEMENTS: tl.constexpr
):  # fmt: skip
    at = positions(tl.program_id(0), ELEMENTS)
    v = fetch(order, at, at < n)
    value = value_of(table, v, fetch(x, at, at < n).to(v.dtype), FUNCTION, LOWEST)
    tl.store(out + at, value, mask=at < n)


@triton.jit
def backward_kernel(
    grad, x, order, table, out, n,
    FUNCTION: tl.constexpr, LOWEST: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    at = positions(tl.program_id(0), ELEMENTS)
    v = fetch(order, at, at < n)
    slope = value_of(table, v, fetch(x, at, at < n).to(v.dtype), FUNCTION, LOWEST)
    tl.store(out + at, fetch(grad, at, at < n).to(v.dtype) * slope, mask=at < n)


# ---- the op ----------------------------------------------------------------------

DERIVATIVES = {"log_iv": "log_iv_slope", "log_iv_slope": "log_iv_curvature",
               "ratio": "ratio_slope", "ratio_slope": "ratio_curvature"}  # fmt: skip


def _call(x: Tensor, order: Tensor, function: str, grad: Tensor | None) -> Call:
    entry = ENTRIES.get(function)
    if (
        entry is None
        or entry.function not in DERIVATIVES
        or function.startswith("vmf")
        or x.dtype not in FLOATING
        or order.dtype not in FLOATING
        or order.device != x.device
        or order.shape != x.shape
    ):
        refuse("bessel_order", x, order, function)
    wide = wide_of(x.dtype)
    if grad is not None:
        check_gradients("bessel_order", (grad,), [(x.shape, wide)], x, order, function)
    elements = power_of_two(x.numel(), ELEMENTS)
    name = entry.function if grad is None else DERIVATIVES[entry.function]
    return Call(
        forward_kernel if grad is None else backward_kernel, ceil_div(x.numel(), elements), x,
        inputs=[
            *([] if grad is None else [contiguous(grad)]),
            contiguous(x), contiguous(order, wide),
        ],
        tables=(tables(wide, x.device),),
        outputs=[(x.shape, wide if grad is None else x.dtype)], numbers=(x.numel(),),
        constants={
            "FUNCTION": name, "LOWEST": entry.lowest_order,
            "ELEMENTS": elements, "num_warps": warps(elements),
        },
        zero_of=None if grad is None else 2,
    )  # fmt: skip


@planned(tensors=2)
def bessel_order(x: Tensor, order: Tensor, function: str) -> Call:
    """The function of every element at its order."""
    return _call(x, order, function, None)


@planned(tensors=3)
def bessel_order_backward(grad: Tensor, x: Tensor, order: Tensor, function: str) -> Call:
    """`grad` times the derivative in x, and zeros: the one in the order is refused elsewhere."""
    return _call(x, order, function, grad)

"""The modified Bessel function I_v on a logarithmic scale, in plain torch.

Everything rests on L(v, x) = log 0F1(; v + 1; x^2 / 4), which is
log I_v(x) - v log(x / 2) + log Gamma(v + 1): a convergent series below
h = sqrt(v^2 + x^2) = 28 and Debye's expansion (DLMF 10.41) from there on.
The coefficients are made here, in exact rational arithmetic, from the recurrence
DLMF 10.41.9, so that nothing is shared with the compiled tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

SERIES_BELOW = 28.0
_SERIES_TERMS = 45
_DEBYE_TERMS = 18


@lru_cache(maxsize=1)
def debye_polynomials(terms: int = _DEBYE_TERMS) -> list[list[Fraction]]:
    """d_1 ... d_K: log sum_k U_k(t) / v^k = sum_k (t / v)^k d_k(t^2)."""
    u = [[Fraction(1)]]
    for _ in range(terms):
        nxt = [Fraction(0)] * (len(u[-1]) + 3)
        for i, c in enumerate(u[-1]):
            nxt[i + 1] += i * c / 2 + c / (8 * (i + 1))
            nxt[i + 3] -= i * c / 2 + 5 * c / (8 * (i + 3))
        u.append(nxt)
    logs: list[list[Fraction]] = [[]]
    for k in range(1, terms + 1):
        d = list(u[k])
        for j in range(1, k):
            for a, x in enumerate(logs[j]):
                for b, y in enumerate(u[k - j]):
                    d[a + b] -= Fraction(j, k) * x * y
        logs.append(d)
    return [[logs[k][k + 2 * i] for i in range(k + 1)] for k in range(1, terms + 1)]


@lru_cache(maxsize=1)
def _slope_polynomials() -> list[list[Fraction]]:
    """e_k = k d_k + 2 q d_k'(q)."""
    return [
        [(k + 2 * i) * c for i, c in enumerate(d)] for k, d in enumerate(debye_polynomials(), 1)
    ]


@lru_cache(maxsize=1)
def _curvature_polynomials() -> list[list[Fraction]]:
    """m_k = e_k - (1 - q) ((k + 2) e_k + 2 q e_k')."""
    out = []
    for k, e in enumerate(_slope_polynomials(), 1):
        inner = [(k + 2 + 2 * i) * c for i, c in enumerate(e)]
        m = [a - b for a, b in zip(e, inner, strict=True)] + [Fraction(0)]
        for i, c in enumerate(inner):
            m[i + 1] += c
        out.append(m)
    return out


@lru_cache(maxsize=1)
def _third_polynomials() -> list[list[Fraction]]:
    """n_k = (k + 2) m_k + 2 q m_k'."""
    return [
        [(k + 2 + 2 * i) * c for i, c in enumerate(m)]
        for k, m in enumerate(_curvature_polynomials(), 1)
    ]


@lru_cache(maxsize=1)
def _gap_polynomials() -> list[list[Fraction]]:
    """(D_k(1) - D_k(t)) / (1 - t), D_k(t) = t^k d_k(t^2), as polynomials in t."""
    out = []
    for k, d in enumerate(debye_polynomials(), 1):
        full = [Fraction(0)] * (3 * k + 1)
        for i, c in enumerate(d):
            full[k + 2 * i] = c
        # (1 - t^m) / (1 - t) = 1 + t + ... + t^(m-1)
        out.append([sum(full[i + 1 :], Fraction(0)) for i in range(3 * k)])
    return out


def _horner(coefficients: Sequence[Fraction | Tensor], x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for c in reversed(coefficients):
        out = out * x + (float(c) if isinstance(c, Fraction) else c)
    return out


def _double_sum(polynomials: list[list[Fraction]], q: Tensor, s: Tensor) -> Tensor:
    """sum_k s^k p_k(q), k = 1, 2, ..."""
    out = torch.zeros_like(s)
    for p in reversed(polynomials):
        out = (out + _horner(p, q)) * s
    return out


def _split(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the series applies, and arguments that are harmless on either side."""
    series = torch.hypot(v, x) < SERIES_BELOW
    return series, torch.where(series, x, 1.0), torch.where(series, SERIES_BELOW, x)


def _ascending(v: Tensor, x: Tensor) -> Tensor:
    """0F1(; v + 1; x^2 / 4) - 1."""
    y, out = x * x / 4, torch.zeros_like(x + v)
    for j in range(_SERIES_TERMS, 0, -1):
        out = y / (j * (v + j)) * (1 + out)
    return out


def _debye_rest(v: Tensor, x: Tensor) -> Tensor:
    """x^2 / (h + v) - L in the region of Debye's expansion."""
    big = v >= 10
    # v >= 10: arranged around t = 1, so that the small-x limit carries no cancellation
    vb = torch.where(big, v, 10.0)
    h = torch.hypot(vb, x)
    a = x / (h + vb) * x / vb
    gap = torch.zeros_like(h)
    for p in reversed(_gap_polynomials()):
        gap = (gap + _horner(p, vb / h)) / vb
    high = vb * torch.log1p(a / 2) + torch.log1p(a) / 2 + x / (h + vb) * x / h * gap
    vl = torch.where(big, 1.0, v)
    h = torch.hypot(vl, x)
    tail = _double_sum(debye_polynomials(), (vl / h).square(), 1 / h)
    const = torch.lgamma(vl + 1) - math.log(2 * math.pi) / 2 + vl
    low = vl * torch.log((h + vl) / 2) + torch.log(h) / 2 - const - tail
    return torch.where(big, high, low)


def _log_0f1(v: Tensor, x: Tensor) -> Tensor:
    series, xs, xd = _split(v, x)
    low = torch.log1p(_ascending(torch.where(series, v, 0.0), xs))
    high = xd * (xd / (torch.hypot(v, xd) + v)) - _debye_rest(v, xd)
    return torch.where(series, low, high)


def _peak(v: Tensor, x: Tensor) -> Tensor:
    """x - L, where x is large without the cancellation."""
    series, _, xd = _split(v, x)
    high = v - v * (v / (torch.hypot(v, xd) + xd)) + _debye_rest(v, xd)
    return torch.where(series | (x < v), x - _log_0f1(v, x), high)


def _divergence(v: Tensor, x: Tensor) -> Tensor:
    """x A - L."""
    series, xs, xd = _split(v, x)
    vs = torch.where(series, v, 0.0)
    low = xs * _ratio(vs, xs) - _log_0f1(vs, xs)
    s = 1 / torch.hypot(v, xd)
    pe = _double_sum(_slope_polynomials(), (v * s).square(), s)
    return torch.where(series, low, _debye_rest(v, xd) - (xd * s).square() * (0.5 + pe))


def _complement(v: Tensor, x: Tensor) -> Tensor:
    """1 - A."""
    series, xs, xd = _split(v, x)
    low = 1 - _ratio(torch.where(series, v, 0.0), xs)
    h = torch.hypot(v, xd)
    s = 1 / h
    pe = _double_sum(_slope_polynomials(), (v * s).square(), s)
    high = (v + v * (v / (h + xd))) / (h + v) + xd * s * s * (0.5 + pe)
    return torch.where(series, low, high)


def _ratio(v: Tensor, x: Tensor) -> Tensor:
    series, xs, xd = _split(v, x)
    vs = torch.where(series, v, 0.0)
    low = xs / (2 * (vs + 1)) * (1 + _ascending(vs + 1, xs)) / (1 + _ascending(vs, xs))
    h = torch.hypot(v, xd)
    s = 1 / h
    pe = _double_sum(_slope_polynomials(), (v * s).square(), s)
    high = xd * (1 / (h + v) - s * s * (0.5 + pe))
    return torch.where(series, low, high)


def _ratio_series(v: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """T2 = sum a_k y^k with A' = T2 / T0^2, positive terms; and dT2/dy."""
    term = 0.5 / (v + 1) * torch.ones_like(y)
    total, slope = term, torch.zeros_like(term)
    for k in range(1, _SERIES_TERMS + 25):
        lowered = term * 2 * (2 * v + 2 * k - 1) / (k * (2 * v + k + 1) * (v + k + 1))
        slope = slope + k * lowered
        term = lowered * y
        total = total + term
    return total, slope


def _ratio_derivative(v: Tensor, x: Tensor) -> Tensor:
    series, xs, xd = _split(v, x)
    vs = torch.where(series, v, 0.0)
    low = _ratio_series(vs, xs * xs / 4)[0] / (1 + _ascending(vs, xs)).square()
    s = 1 / torch.hypot(v, xd)
    t = v * s
    m = _double_sum(_curvature_polynomials(), t * t, s)
    high = s * t / (1 + t) + s * s * (0.5 - t * t - m)
    return torch.where(series, low, high)


def _ratio_second_derivative(v: Tensor, x: Tensor) -> Tensor:
    series, xs, xd = _split(v, x)
    vs = torch.where(series, v, 0.0)
    t2, slope = _ratio_series(vs, xs * xs / 4)
    t0, t1 = 1 + _ascending(vs, xs), 1 + _ascending(vs + 1, xs)
    low = xs / 2 * (slope - 2 * t2 * t1 / (t0 * (vs + 1))) / t0.square()
    s = 1 / torch.hypot(v, xd)
    t = v * s
    n = _double_sum(_third_polynomials(), t * t, s)
    high = -xd * s**3 * (t * (2 + t) / (1 + t).square() + s * (1 - 4 * t * t - n))
    return torch.where(series, low, high)


def _log_iv_derivative(v: Tensor, x: Tensor) -> Tensor:
    series, xs, xd = _split(v, x)
    low = _ratio(torch.where(series, v, 0.0), xs) + _order_over(v, xs)
    h = torch.hypot(v, xd)
    s = 1 / h
    pe = _double_sum(_slope_polynomials(), (v * s).square(), s)
    return torch.where(series, low, h / xd - xd * s * s * (0.5 + pe))


def _log_iv_second_derivative(v: Tensor, x: Tensor) -> Tensor:
    series, xs, xd = _split(v, x)
    low = _ratio_derivative(torch.where(series, v, 0.0), xs) - _order_over(_order_over(v, xs), xs)
    s = 1 / torch.hypot(v, xd)
    q = (v * s).square()
    m = _double_sum(_curvature_polynomials(), q, s)
    return torch.where(series, low, s * s * (0.5 - q - m) - (v / xd).square() * s)


def _order_over(v: Tensor, x: Tensor) -> Tensor:
    """v / x, and 0 for v = 0 also at x = 0."""
    return torch.where(v == 0, 0.0, v / torch.where(v == 0, 1.0, x))


def _promoted(v: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    out = torch.promote_types(x.dtype, torch.float32)
    if not isinstance(v, Tensor):
        # Filled in: `as_tensor` would be a constant of an exported program, which ONNX has no room
        # for, and a copy to the device.
        return torch.full((), v, dtype=torch.float64, device=x.device), x.double(), out
    return v.to(device=x.device, dtype=torch.float64), x.double(), out


def log_0f1(v: Tensor | float, x: Tensor) -> Tensor:
    """log 0F1(; v + 1; x^2 / 4), v >= 0."""
    v, x, dtype = _promoted(v, x)
    return _log_0f1(v, x).to(dtype)


def peak(v: Tensor | float, x: Tensor) -> Tensor:
    """x - log 0F1(; v + 1; x^2 / 4)."""
    v, x, dtype = _promoted(v, x)
    return _peak(v, x).to(dtype)


def divergence(v: Tensor | float, x: Tensor) -> Tensor:
    """x L'(x) - L(x), L = log 0F1(; v + 1; x^2 / 4)."""
    v, x, dtype = _promoted(v, x)
    return _divergence(v, x).to(dtype)


def log_iv(v: Tensor | float, x: Tensor) -> Tensor:
    """log I_v(x), v >= 0, x >= 0."""
    v, x, dtype = _promoted(v, x)
    series, xs, xd = _split(v, x)
    vs = torch.where(series, v, 0.0)
    low = torch.xlogy(vs, xs / 2) - torch.lgamma(vs + 1) + _log_0f1(vs, xs)
    h = torch.hypot(v, xd)
    tail = _double_sum(debye_polynomials(), (v / h).square(), 1 / h)
    high = h - v * torch.asinh(v / xd) - torch.log(2 * math.pi * h) / 2 + tail
    return torch.where(series, low, high).to(dtype)


def log_iv_derivative(v: Tensor | float, x: Tensor, times: int = 1) -> Tensor:
    """The first or second derivative of log I_v in x."""
    v, x, dtype = _promoted(v, x)
    return (_log_iv_derivative, _log_iv_second_derivative)[times - 1](v, x).to(dtype)


def iv_ratio(v: Tensor | float, x: Tensor) -> Tensor:
    """I_v(x) / I_{v-1}(x), v >= 1/2."""
    v, x, dtype = _promoted(v, x)
    return _ratio(v - 1, x).to(dtype)


def iv_ratio_complement(v: Tensor | float, x: Tensor) -> Tensor:
    """1 - I_v(x) / I_{v-1}(x)."""
    v, x, dtype = _promoted(v, x)
    return _complement(v - 1, x).to(dtype)


def iv_ratio_derivative(v: Tensor | float, x: Tensor, times: int = 1) -> Tensor:
    """The first or second derivative of I_v / I_{v-1} in x."""
    v, x, dtype = _promoted(v, x)
    return (_ratio_derivative, _ratio_second_derivative)[times - 1](v - 1, x).to(dtype)

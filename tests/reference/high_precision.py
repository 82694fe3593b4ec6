"""The functions of log_iv and vmf in 60-digit arithmetic.

For h = sqrt(v^2 + x^2) < 300, and for x^2 < 300 (v + 1): the ascending series, whose terms are
positive. Otherwise: thirty terms of Debye's expansion (DLMF 10.41) with exact coefficients; its
remainder is then below 1e-50. The tests compare both with mpmath's Bessel functions where those
can be evaluated.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from mpmath import mp, mpf

DIGITS = 60
SERIES_BELOW = 300
TERMS = 30
Value = dict[str, mpf]


@lru_cache(maxsize=1)
def _coefficients() -> tuple[list[list[mpf]], ...]:
    """d_k, e_k and m_k of csrc/math/tables/debye.py, to full precision."""
    path = Path(__file__).parents[2] / "csrc" / "math" / "tables" / "debye.py"
    spec = importlib.util.spec_from_file_location("debye", path)
    assert spec is not None
    assert spec.loader is not None
    debye: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(debye)
    d = debye.debye(TERMS)
    e = debye.slope(d)
    with mp.workdps(DIGITS):
        return tuple(
            [[mpf(c.numerator) / c.denominator for c in p] for p in table]
            for table in (d, e, debye.curvature(e))
        )


def _double_sum(polynomials: list[list[mpf]], s: mpf, q: mpf) -> mpf:
    return mp.fsum(s**k * mp.polyval(p[::-1], q) for k, p in enumerate(polynomials, 1))


def _series(v: mpf, x: mpf) -> Value:
    """L, A, 1 - A, A' and KL; A' from the recurrence at twice the digits."""
    y = x * x / 4
    with mp.workdps(2 * DIGITS + 60):
        t0, t1, term0, term1, j = mpf(0), mpf(1), mpf(1), mpf(1), 0
        while term0 > mpf(10) ** (-mp.dps) * (1 + t0) or j == 0:
            j += 1
            term0 *= y / (j * (v + j))
            term1 *= y / (j * (v + 1 + j))
            t0 += term0
            t1 += term1
            if term0 == 0:
                break
        level = mp.log1p(t0)
        ratio = x / (2 * (v + 1)) * t1 / (1 + t0)
        slope = 1 - ratio**2 - (2 * v + 1) * ratio / x if x else 1 / (2 * (v + 1))
        # so close to 0 that the doubled digits cancel; the leading term is accurate there
        if x < mpf(10) ** (-DIGITS):
            slope = 1 / (2 * (v + 1))
        log_iv = v * mp.log(x / 2) - mp.loggamma(v + 1) + level if x else mpf("-inf" if v else 0)
        divergence = x * ratio - level
    return {
        "L": level, "A": ratio, "B": 1 - ratio, "dA": slope, "KL": divergence,
        "M": x - level, "log_iv": log_iv,
    }  # fmt: skip


def _expansion(v: mpf, x: mpf) -> Value:
    d, e, m = _coefficients()
    h = mp.sqrt(v * v + x * x)
    s, q = 1 / h, (v / h) ** 2
    pd, pe, pm = (_double_sum(p, s, q) for p in (d, e, m))
    ratio = x * (1 / (h + v) - s * s / 2 - s * s * pe)
    with mp.workdps(DIGITS + 120):  # differences of large terms
        h = mp.sqrt(v * v + x * x)
        log_iv = h - v * mp.asinh(v / x) - mp.log(2 * mp.pi * h) / 2 + pd
        level = log_iv - v * mp.log(x / 2) + mp.loggamma(v + 1)
        peak = x - level
        # x A = x^2/(h+v) - (1 - q) (1/2 + sum) and x^2/(h+v) = h - v
        divergence = h - v - (x / h) ** 2 * (mpf(1) / 2 + pe) - level
    return {
        "L": level, "A": ratio,
        "B": (v + v * v / (h + x)) / (h + v) + x * s * s * (mpf(1) / 2 + pe),
        "dA": v * s / (h + v) + s * s * (mpf(1) / 2 - q) - s * s * pm,
        "KL": divergence, "M": peak, "log_iv": log_iv,
    }  # fmt: skip


def bessel(v: float | mpf, x: float | mpf) -> Value:
    """L, A, 1 - A (B), A', KL, M = x - L and log I_v at the exact values of v and x."""
    with mp.workdps(DIGITS):
        v, x = mpf(v), mpf(x)
        few_terms = v * v + x * x < SERIES_BELOW**2 or x * x < SERIES_BELOW * (v + 1)
        return (_series if few_terms else _expansion)(v, x)

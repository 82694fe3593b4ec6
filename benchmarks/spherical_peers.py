"""What `benchmarks.spherical` compares with: solvers for the concentration, and samplers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mpmath import mp, mpf
from scipy import optimize, special, stats
from torch import Tensor

DIGITS = 50


def exact_ratio(dim: int, kappa: Any) -> Any:
    """A_p(kappa) = I_{p/2} / I_{p/2-1} in 50 digits, by Lentz's continued fraction.

    DLMF 10.33.1: A = 1 / (b_1 + 1 / (b_2 + ...)), b_k = (p + 2k - 2) / kappa.
    """
    kappa = mpf(kappa)
    value = (dim + 0) / kappa
    numerator, denominator = value, mpf(0)
    k = 1
    while True:
        term = (dim + 2 * k) / kappa
        denominator = 1 / (term + denominator)
        numerator = term + 1 / numerator
        step = numerator * denominator
        value *= step
        k += 1
        if abs(step - 1) < mpf(10) ** (5 - mp.dps):
            return 1 / value


def exact_root(dim: int, r: float, start: float) -> Any:
    """The kappa with A_p(kappa) = r for the double r, in 50 digits, by Newton's method."""
    kappa = mpf(start)
    for _ in range(20):
        ratio = exact_ratio(dim, kappa)
        step = (ratio - mpf(r)) / (1 - ratio**2 - (dim - 1) / kappa * ratio)
        kappa -= step
        if abs(step) < kappa * mpf(10) ** (10 - mp.dps):
            return kappa
    raise ArithmeticError(f"no root for p = {dim}, r = {r}")


def banerjee(dim: int, r: float) -> float:
    """Banerjee et al., JMLR 6 (2005), eq. 4.4."""
    return r * (dim - r * r) / (1 - r * r)


def scipy_ratio(dim: int, kappa: float) -> float:
    """By SciPy's scaled Bessel functions."""
    return float(special.ive(dim / 2, kappa) / special.ive(dim / 2 - 1, kappa))


def sra(dim: int, r: float) -> float:
    """Sra, Comput. Stat. 27 (2012): two Newton steps from Banerjee's value."""
    kappa = banerjee(dim, r)
    for _ in range(2):
        a = scipy_ratio(dim, kappa)
        kappa -= (a - r) / (1 - a * a - (dim - 1) / kappa * a)
    return kappa


def tanabe(dim: int, r: float) -> float:
    """Tanabe et al., Comput. Stat. 22 (2007): one step of the fixed point from its bounds."""
    low, high = r * (dim - 2) / (1 - r * r), r * dim / (1 - r * r)
    at_low = r * low / scipy_ratio(dim, low) if low else 0.0
    at_high = r * high / scipy_ratio(dim, high)
    # the zero of the line through phi(x) - x at both bounds, phi(x) = r x / A(x)
    gap_low, gap_high = at_low - low, at_high - high
    return (low * gap_high - high * gap_low) / (gap_high - gap_low)


def song(dim: int, r: float) -> float:
    """Song, Liu & Wang, Comput. Stat. 27 (2012): two steps of Halley's method."""
    kappa = banerjee(dim, r)
    for _ in range(2):
        a = scipy_ratio(dim, kappa)
        slope = 1 - a * a - (dim - 1) / kappa * a
        bend = -2 * a * slope + (dim - 1) / kappa * (a / kappa - slope)
        kappa -= 2 * (a - r) * slope / (2 * slope * slope - (a - r) * bend)
    return kappa


def brent(dim: int, r: float) -> float:
    """Brent's method with SciPy's Bessel functions in a bracket around Banerjee's value."""
    start = banerjee(dim, r)
    function = lambda kappa: scipy_ratio(dim, kappa) - r  # noqa: E731
    return float(optimize.brentq(function, start / 2, 2 * start, xtol=1e-300, rtol=1e-15))


def scipy_fit(dim: int, r: float) -> float:
    """`scipy.stats.vonmises_fisher.fit` of two points whose mean has the length r."""
    x = np.zeros((2, dim))
    x[:, 0] = r
    x[:, 1] = [math.sqrt(1 - r * r), -math.sqrt(1 - r * r)]
    return float(stats.vonmises_fisher.fit(x)[1])


SOLVERS: dict[str, Callable[[int, float], float]] = {
    "Banerjee 2005": banerjee,
    "Tanabe 2007": tanabe,
    "Sra 2012": sra,
    "Song 2012": song,
    "Brent": brent,
    "SciPy fit": scipy_fit,
}


def wood_torch(loc: Tensor, kappa: float, count: int) -> Tensor:
    """Wood (1994) with Ulrich's envelope in float64 torch: whole batches, rejection in a loop."""
    n = loc.shape[0] - 1
    b = n / (2 * kappa + math.sqrt(4 * kappa**2 + n**2))
    peak = (1 - b) / (1 + b)
    level = kappa * peak + n * math.log1p(-peak * peak)
    beta = torch.distributions.Beta(
        torch.tensor(n / 2, dtype=torch.float64), torch.tensor(n / 2, dtype=torch.float64)
    )
    cosine = torch.empty(count, dtype=torch.float64)
    filled = 0
    while filled < count:
        draws = math.ceil(1.5 * (count - filled)) + 8  # at least 0.66 of them are accepted
        e = beta.sample((draws,))
        w = (1 - (1 + b) * e) / (1 - (1 - b) * e)
        log_u = torch.rand(draws, dtype=torch.float64).log_()
        w = w[kappa * w + n * torch.log1p(-peak * w) - level >= log_u][: count - filled]
        cosine[filled : filled + len(w)] = w
        filled += len(w)
    tangent = torch.randn(count, n, dtype=torch.float64)
    sine = (1 - cosine * cosine).clamp_min_(0).sqrt_()
    tangent *= (sine / tangent.norm(dim=-1)).unsqueeze(-1)
    x = torch.cat([cosine.unsqueeze(-1), tangent], -1)
    # the Householder reflection that takes e_1 to loc
    axis = -loc.clone()
    axis[0] += 1
    length = axis.norm()
    if length > 0:
        axis /= length
        x -= torch.outer(x @ axis, 2 * axis)
    return x

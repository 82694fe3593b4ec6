r"""Ratios of Gamma functions whose arguments differ by b, without cancellation.

log Gamma(1e6) is 1.3e7, where float32 has no digit after the point, but
log Gamma(1e6 + 1) - log Gamma(1e6) is 13.8. So the difference is taken term by term: with m = 8
steps of the recurrence, c = a + m, and Stirling's series (DLMF 5.11.1),

    log Gamma(a+b) - log Gamma(a) = -sum_{i<m} log1p(b / (a+i))
        + (c - 1/2) log1p(b/c) + b (log(c+b) - 1)
        + sum_j B_2j / (2j (2j-1)) ((c+b)^(1-2j) - c^(1-2j))

and its derivatives likewise. Domain: a, b >= 1/2. Everything is differentiable to any order.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["digamma_gap", "log_gamma_ratio_rise", "trigamma_gap"]

Real = TypeVar("Real", Tensor, float)
_STEPS = 8
# B_2j, j = 1 ... 10
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798,
    -174611 / 330,
)  # fmt: skip
_STIRLING = tuple(b / (2 * j * (2 * j - 1)) for j, b in enumerate(_BERNOULLI, 1))
_DIGAMMA = tuple(-b / (2 * j) for j, b in enumerate(_BERNOULLI, 1))


def _shifted(a: Tensor) -> tuple[Tensor, Tensor]:
    """a, a + 1, ..., a + m - 1 along a new last dimension, and a + m."""
    steps = torch.arange(_STEPS, dtype=a.dtype, device=a.device)
    return a.unsqueeze(-1) + steps, a + _STEPS


def _tail(c: Real, coefficients: tuple[float, ...], power: int) -> Real:
    """sum_j coefficient_j c^-(power + 2 j), j = 0, 1, ..."""
    inverse = 1 / c
    total = 0 * inverse
    for coefficient in reversed(coefficients):
        total = total * (inverse * inverse) + coefficient
    return total * inverse**power


def log_gamma_ratio_rise(kappa: Tensor, b: float) -> Tensor:
    """log Gamma(2b + k) / Gamma(b + k) minus its value at k = 0; for k >= 0.

    The error is a few roundings of b (1 + log1p(k / b)), the largest term.

    Example:
        >>> log_gamma_ratio_rise(torch.tensor([1.0, 3.0, 1e6]), 1.0)  # log(1 + k)
        tensor([ 0.6931,  1.3863, 13.8155])
    """
    low, c = _shifted(kappa + b)
    start = b + _STEPS
    steps = torch.log1p(b / low).sum(-1) - sum(math.log1p(b / (b + i)) for i in range(_STEPS))
    at_0 = (start - 0.5) * math.log1p(b / start)
    stirling = (c - 0.5) * torch.log1p(b / c) - at_0 + b * torch.log1p(kappa / (start + b))
    tail = _tail(c + b, _STIRLING, 1) - _tail(c, _STIRLING, 1)
    return stirling - steps + (tail - (_tail(start + b, _STIRLING, 1) - _tail(start, _STIRLING, 1)))


def digamma_gap(a: Tensor, b: float) -> Tensor:
    """psi(a + b) - psi(a) > 0, the derivative of log Gamma(a + b) / Gamma(a) in a.

    Example:
        >>> digamma_gap(torch.tensor([0.5, 4.0]), 1.0)  # 1 / a
        tensor([2.0000, 0.2500])
    """
    low, c = _shifted(a)
    tail = _tail(c + b, _DIGAMMA, 2) - _tail(c, _DIGAMMA, 2)
    steps = (b / low / (low + b)).sum(-1)
    return steps + torch.log1p(b / c) + b / c / (2 * (c + b)) + tail


def trigamma_gap(a: Tensor, b: float) -> Tensor:
    """psi'(a) - psi'(a + b) > 0, minus the derivative of `digamma_gap`.

    Example:
        >>> trigamma_gap(torch.tensor([0.5, 4.0]), 1.0)  # 1 / a^2
        tensor([4.0000, 0.0625])
    """
    low, c = _shifted(a)
    high, end = low + b, c + b
    steps = (b / low / high * (1 / low + 1 / high)).sum(-1)
    rest = b / c / end * (1 + (1 / c + 1 / end) / 2)
    return steps + rest + (_tail(c, _BERNOULLI, 3) - _tail(end, _BERNOULLI, 3))

"""The modified Bessel function I_v on a logarithmic scale, from its power series.

Everything rests on L(v, x) = log 0F1(; v + 1; x^2 / 4) = log I_v(x) - v log(x / 2)
+ log Gamma(v + 1), a series of positive terms (DLMF 10.25.2), and on the ratio of successive
orders by their recurrence (DLMF 10.29.1).  x > 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

DIRECT = 500.0  # up to here the series' sum itself is a number of float64


def _both(v: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor, float]:
    x = x.double()
    v = torch.as_tensor(v, dtype=torch.float64, device=x.device)
    return v, x, float(x.detach().max()) if x.numel() else 0.0


def series(v: Tensor | float, x: Tensor) -> Tensor:
    """0F1(; v + 1; x^2 / 4) - 1, for x below DIRECT."""
    v, x, largest = _both(v, x)
    y, total = x * x / 4, torch.zeros_like(x + v)
    for j in range(int(1.5 * largest) + 30, 0, -1):
        total = y / (j * (v + j)) * (1 + total)
    return total


def log_0f1(v: Tensor | float, x: Tensor) -> Tensor:
    """log 0F1(; v + 1; x^2 / 4)."""
    v, x, largest = _both(v, x)
    if largest < DIRECT:
        return series(v, x).log1p()
    # The terms around the largest, relative to it.
    y, v = x * x / 4, v.expand(x.shape)
    peak = ((torch.hypot(v, x.detach()) - v) / 2).floor()
    width = int(10 * largest**0.5) + 40
    j = peak.unsqueeze(-1) + torch.arange(-width, width + 1, device=x.device)
    i = j.clamp_min(1)
    logs = (y.unsqueeze(-1) / (i * (v.unsqueeze(-1) + i))).log()
    logs = logs.masked_fill(j < 1, 0.0).cumsum(-1)
    logs = (logs - logs[..., width : width + 1]).masked_fill(j < 0, -torch.inf)
    lgamma = torch.lgamma
    at_peak = peak * y.log() - lgamma(peak + 1) - lgamma(v + peak + 1) + lgamma(v + 1)
    return at_peak + logs.logsumexp(-1)


def peak(v: Tensor | float, x: Tensor) -> Tensor:
    """x - log 0F1(; v + 1; x^2 / 4)."""
    v, x, largest = _both(v, x)
    if largest >= DIRECT:
        return x - log_0f1(v, x)
    return -(torch.exp(-x) * (1 + series(v, x))).log()


def log_iv(v: Tensor | float, x: Tensor) -> Tensor:
    """log I_v(x)."""
    v, x, _ = _both(v, x)
    return v * (x / 2).log() - torch.lgamma(v + 1) + log_0f1(v, x)


def _orders(v: Tensor, largest: float) -> Iterator[Tensor]:
    """2 (v + k), the coefficients of the ratio's recurrence, from a high k down to 0.

    The error of the first ratio, which is a guess, vanishes: the step at k multiplies it by
    A^2 < exp(-2 asinh(k / x)), and n < x steps by about exp(-n^2 / x).
    """
    steps = min(1.5 * largest, 12 * largest**0.5)
    for k in range(int(steps) + 40, -1, -1):
        yield 2 * (v + k)


def iv_ratio_with_slope(v: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
    """A = I_v(x) / I_{v-1}(x) and dA/dx, from A_v = x / (2 v + x A_{v+1})."""
    v, x, largest = _both(v, x)
    ratio = slope = torch.zeros_like(v + x)
    for twice in _orders(v, largest):
        below = twice + x * ratio
        ratio, slope = x / below, (twice - x * x * slope) / below.square()
    return ratio, slope


def iv_ratio_complement(v: Tensor | float, x: Tensor) -> Tensor:
    """C = 1 - I_v(x) / I_{v-1}(x): C_v = (2 v - x C_{v+1}) / (2 v + x - x C_{v+1})."""
    v, x, largest = _both(v, x)
    rest = torch.ones_like(v + x)
    for twice in _orders(v, largest):
        rest = (twice - x * rest) / (twice + x * (1 - rest))
    return rest


def iv_ratio(v: Tensor | float, x: Tensor) -> Tensor:
    """I_v(x) / I_{v-1}(x)."""
    return iv_ratio_with_slope(v, x)[0]

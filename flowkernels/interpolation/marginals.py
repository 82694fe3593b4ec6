"""One-dimensional distributions with both tails, for distribution-preserving paths.

A marginal gives P(X <= x), P(X > x) and the inverses of both. The smaller tail carries the
digits: 1 - 1e-20 rounds to 1, but 1e-20 is exact.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from flowkernels import arguments

from .far_tails import log_gamma_tail, log_normal_tail_inverse


class Marginal(Protocol):
    """A continuous distribution on the line; all methods are elementwise, in float64.

    Example:
        >>> x = torch.tensor([-3.0, 0.5], dtype=torch.float64)
        >>> law = StandardNormal()
        >>> torch.allclose(law.icdf(law.cdf(x)), x) and torch.allclose(law.isf(law.sf(x)), x)
        True
    """

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x)."""
        ...

    def sf(self, x: Tensor) -> Tensor:
        """P(X > x)."""
        ...

    def icdf(self, p: Tensor) -> Tensor:
        """The x with cdf(x) = p, accurate for small p."""
        ...

    def isf(self, q: Tensor) -> Tensor:
        """The x with sf(x) = q, accurate for small q."""
        ...


@runtime_checkable
class FarTails(Protocol):
    """Log tails of a marginal, for points where the tails underflow.

    Example:
        >>> x = torch.tensor(100.0, dtype=torch.float64)
        >>> law = StandardNormal()
        >>> round(law.from_log_tail(law.log_tail(x, upper=True), upper=True).item(), 12)
        100.0
    """

    def log_tail(self, x: Tensor, upper: bool) -> Tensor:
        """log sf(x) where `upper`, else log cdf(x)."""
        ...

    def from_log_tail(self, log_tail: Tensor, upper: bool) -> Tensor:
        """The x whose log tail is `log_tail`."""
        ...


class StandardNormal:
    """N(0, 1)."""

    def log_tail(self, x: Tensor, upper: bool) -> Tensor:
        return torch.special.log_ndtr(-x if upper else x)

    def from_log_tail(self, log_tail: Tensor, upper: bool) -> Tensor:
        x = log_normal_tail_inverse(log_tail)
        return -x if upper else x

    def cdf(self, x: Tensor) -> Tensor:
        return 0.5 * torch.erfc(-x / math.sqrt(2))

    def sf(self, x: Tensor) -> Tensor:
        return 0.5 * torch.erfc(x / math.sqrt(2))

    def icdf(self, p: Tensor) -> Tensor:
        return torch.special.ndtri(p)

    def isf(self, q: Tensor) -> Tensor:
        return -torch.special.ndtri(q)


class StandardCauchy:
    """The standard Cauchy distribution, density 1 / (pi (1 + x^2))."""

    def cdf(self, x: Tensor) -> Tensor:
        return torch.atan2(torch.ones_like(x), -x) / math.pi

    def sf(self, x: Tensor) -> Tensor:
        return torch.atan2(torch.ones_like(x), x) / math.pi

    def icdf(self, p: Tensor) -> Tensor:
        return -self.isf(p)

    def isf(self, q: Tensor) -> Tensor:
        # cot(pi q), with cos(pi q) as a sine, so that the result is 0 at q = 1/2.
        return torch.sin(math.pi * (0.5 - q)) / torch.sin(math.pi * q)


class Chi:
    """The length of a standard Gaussian vector of R^d: sqrt of chi squared.

    Args:
        dim: d >= 1.

    Raises:
        ValueError: `dim` is below 1.

    Example:
        >>> law = Chi(100)
        >>> round(law.icdf(torch.tensor(0.5, dtype=torch.float64)).item(), 4)  # the median
        9.9667
    """

    rounds = 12  # Newton steps; for d >= 3, 6 reach 1e-13

    def __init__(self, dim: int) -> None:
        self.dim = arguments.integer("Chi", "dim", dim)

    def cdf(self, x: Tensor) -> Tensor:
        return torch.special.gammainc(self._shape(x), x.clamp_min(0).square() / 2)

    def sf(self, x: Tensor) -> Tensor:
        return torch.special.gammaincc(self._shape(x), x.clamp_min(0).square() / 2)

    def log_tail(self, x: Tensor, upper: bool) -> Tensor:
        return log_gamma_tail(self.dim / 2, x.clamp_min(0).square() / 2, upper)

    def icdf(self, p: Tensor) -> Tensor:
        return torch.where(p == 1, math.inf, self.from_log_tail(p.log(), upper=False))

    def isf(self, q: Tensor) -> Tensor:
        return torch.where(q == 1, 0.0, self.from_log_tail(q.log(), upper=True))

    def from_log_tail(self, log_tail: Tensor, upper: bool) -> Tensor:
        """Newton's method on the log tail, started from Wilson and Hilferty's cube root.

        Wilson & Hilferty, The distribution of chi-square (1931). The last step is differentiable.
        """
        with torch.no_grad():
            x = self._start(log_tail, upper)
            for _ in range(self.rounds):
                x = self._step(x, log_tail, upper)
        x = self._step(x, log_tail, upper)
        return torch.where(log_tail == -math.inf, math.inf if upper else 0.0, x)

    def _start(self, log_tail: Tensor, upper: bool) -> Tensor:
        normal = log_normal_tail_inverse(log_tail)
        ratio = 2 / (9 * self.dim)
        root = 1 - ratio + (-normal if upper else normal) * math.sqrt(ratio)
        x = math.sqrt(self.dim) * root.clamp_min(0) ** 1.5
        if not upper:
            # for small x: F = (x^2/2)^(d/2) / Gamma(d/2 + 1)
            small = (log_tail + math.lgamma(self.dim / 2 + 1)) * (2 / self.dim)
            x = torch.maximum(x, torch.exp(0.5 * small) * math.sqrt(2))
        return x.clamp(1e-150, 1e150)

    def _step(self, x: Tensor, log_tail: Tensor, upper: bool) -> Tensor:
        with torch.no_grad():
            reached = self.log_tail(x, upper)
            constant = (self.dim / 2 - 1) * math.log(2) + math.lgamma(self.dim / 2)
            # log F is nearly linear in log x where F is small
            log_density = (self.dim - 1) * x.log() - x.square() / 2 - constant
            slope = torch.exp(reached - log_density)
        change = (log_tail - reached) * slope
        if upper:
            longest = 0.5 * x.clamp_min(1.0)
            return torch.maximum(x - change.clamp(-longest, longest), x / 4)
        return x * torch.exp((change / x).clamp(-2, 2))

    def _shape(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.dim / 2)

"""One-dimensional laws by their two tails, as paths that keep a law need them.

A marginal gives P(X <= x), P(X > x) and the inverses of both. Whichever tail is the smaller
carries the digits: 1 - 1e-20 is 1, but 1e-20 is a number.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


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


class StandardNormal:
    """N(0, 1)."""

    def cdf(self, x: Tensor) -> Tensor:
        return 0.5 * torch.erfc(-x / math.sqrt(2))

    def sf(self, x: Tensor) -> Tensor:
        return 0.5 * torch.erfc(x / math.sqrt(2))

    def icdf(self, p: Tensor) -> Tensor:
        return torch.special.ndtri(p)

    def isf(self, q: Tensor) -> Tensor:
        return -torch.special.ndtri(q)


class StandardCauchy:
    """The standard Cauchy law, density 1 / (pi (1 + x^2))."""

    def cdf(self, x: Tensor) -> Tensor:
        return torch.atan2(torch.ones_like(x), -x) / math.pi

    def sf(self, x: Tensor) -> Tensor:
        return torch.atan2(torch.ones_like(x), x) / math.pi

    def icdf(self, p: Tensor) -> Tensor:
        return -self.isf(p)

    def isf(self, q: Tensor) -> Tensor:
        # cot(pi q), whose zero at 1/2 is that of the cosine
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

    rounds = 12  # of Newton's method: 6 are enough to 1e-13 from d = 3 on

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"Chi: dim must be at least 1, got {dim}")
        self.dim = dim

    def cdf(self, x: Tensor) -> Tensor:
        return torch.special.gammainc(self._shape(x), x.clamp_min(0).square() / 2)

    def sf(self, x: Tensor) -> Tensor:
        return torch.special.gammaincc(self._shape(x), x.clamp_min(0).square() / 2)

    def icdf(self, p: Tensor) -> Tensor:
        # log F is nearly linear in log x where F is small
        return self._invert(p, torch.special.ndtri(p), upper=False)

    def isf(self, q: Tensor) -> Tensor:
        return self._invert(q, -torch.special.ndtri(q), upper=True)

    def _invert(self, tail: Tensor, normal: Tensor, upper: bool) -> Tensor:
        """Newton's steps on the logarithm of a tail, from Wilson and Hilferty's cube root.

        Wilson & Hilferty, The distribution of chi-square (1931). The last step carries the
        derivative in the tail.
        """
        with torch.no_grad():
            ratio = 2 / (9 * self.dim)
            start = (1 - ratio + normal * math.sqrt(ratio)).clamp_min(0) ** 1.5
            # for small x: F = (x^2/2)^(d/2) / Gamma(d/2 + 1)
            small = (tail.log() + math.lgamma(self.dim / 2 + 1)) * (2 / self.dim)
            x = math.sqrt(self.dim) * start
            if not upper:
                x = torch.maximum(x, torch.exp(0.5 * small) * math.sqrt(2))
            x = x.clamp_min(1e-150)
            for _ in range(self.rounds):
                x = self._step(x, tail, upper)
        x = self._step(x, tail, upper)
        x = torch.where(tail == 0, math.inf if upper else 0.0, x)
        return torch.where(tail == 1, 0.0 if upper else math.inf, x)

    def _step(self, x: Tensor, tail: Tensor, upper: bool) -> Tensor:
        with torch.no_grad():
            reached = (self.sf if upper else self.cdf)(x).clamp_min(1e-300).log()
            constant = (self.dim / 2 - 1) * math.log(2) + math.lgamma(self.dim / 2)
            log_density = (self.dim - 1) * x.log() - x.square() / 2 - constant
            slope = torch.exp(reached - log_density)
        change = (tail.log() - reached) * slope
        if upper:
            longest = 0.5 * x.clamp_min(1.0)
            return torch.maximum(x - change.clamp(-longest, longest), x / 4)
        return x * torch.exp((change / x).clamp(-2, 2))

    def _shape(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.dim / 2)

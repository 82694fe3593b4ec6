"""The distribution of the length of an isotropic Cauchy vector, by its two tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowkernels import arguments
from flowkernels.synchronization import readable_without_sync


class CauchyLength:
    """The length R of a standard isotropic Cauchy vector of R^d: chi_d / |N(0, 1)|.

    P(R > x) = I_w(1/2, d/2), w = 1 / (1 + x^2), the regularised incomplete beta function. Its
    continued fraction (DLMF 8.17.22) is evaluated for the tail where it converges fast.

    Args:
        dim: d >= 1.

    Raises:
        ValueError: `dim` is below 1.

    Example:
        >>> law = CauchyLength(1)  # absolute value of a Cauchy variable
        >>> round(law.sf(torch.tensor(1.0, dtype=torch.float64)).item(), 12)
        0.5
    """

    rounds = 40  # most Newton steps; 5 to 8 are typical

    def __init__(self, dim: int) -> None:
        self.dim = arguments.integer("CauchyLength", "dim", dim)
        a, b = 0.5, dim / 2
        self._log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        # Terms of the continued fraction without a convergence check. For d from 1 to 1e5, the
        # largest number needed was below 20 + 4.9 sqrt(d) and below 90.
        self._terms = min(100, round(24 + 5 * math.sqrt(dim)))

    def cdf(self, x: Tensor) -> Tensor:
        lower, slope = self._tails(x)[0], self.density(x)
        return lower + slope * (x - x.detach())

    def sf(self, x: Tensor) -> Tensor:
        upper, slope = self._tails(x)[1], self.density(x)
        return upper - slope * (x - x.detach())

    def icdf(self, p: Tensor) -> Tensor:
        if self.dim < 3:  # invert 2 x^d / (d B(1/2, d/2)), an upper bound of the cdf, tight at 0
            start = torch.exp(
                (p.detach().log() + math.log(self.dim / 2) + self._log_beta) / self.dim
            )
        else:  # chi_d is close to sqrt(d): |N| > sqrt(d) / x
            start = math.sqrt(self.dim) / -torch.special.ndtri(p.detach() / 2)
        return self._invert(p, start, upper=False)

    def isf(self, q: Tensor) -> Tensor:
        start = math.sqrt(self.dim / 2) / torch.erfinv(q.detach())
        return self._invert(q, start, upper=True)

    @torch.no_grad()
    def density(self, x: Tensor) -> Tensor:
        """2 x^(d-1) (1 + x^2)^(-(d+1)/2) / B(1/2, d/2)."""
        return torch.exp(self._log_density_times_x(x) - x.log()).nan_to_num(0.0)

    def _log_density_times_x(self, x: Tensor) -> Tensor:
        return math.log(2) - self._log_beta + 0.5 * self._log_w(x) + self.dim / 2 * self._log_v(x)

    @staticmethod
    def _log_w(x: Tensor) -> Tensor:
        """log 1 / (1 + x^2)."""
        return -2 * torch.where(x > 1, x.log() + 0.5 * torch.log1p(x**-2), 0.5 * torch.log1p(x * x))

    @staticmethod
    def _log_v(x: Tensor) -> Tensor:
        """log x^2 / (1 + x^2)."""
        return torch.where(x > 1, -torch.log1p(x**-2), 2 * x.log() - torch.log1p(x * x))

    @torch.no_grad()
    def _tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clamp_min(0)
        log_w, log_v = self._log_w(x), self._log_v(x)
        front = torch.exp(0.5 * log_w + self.dim / 2 * log_v - self._log_beta)
        w, b = log_w.exp(), self.dim / 2
        far = w < 1.5 / (b + 2.5)
        first = torch.where(far, 0.5, b)
        second = torch.where(far, b, 0.5)
        point = torch.where(far, w, log_v.exp())
        terms = 500 if _can_check_convergence(x) else self._terms
        tail = front / first / _continued_fraction(first, second, point, terms)
        return torch.where(far, 1 - tail, tail), torch.where(far, tail, 1 - tail)

    def _invert(self, tail: Tensor, start: Tensor, upper: bool) -> Tensor:
        """Newton's method on log tail as a function of log x; the last step is differentiable."""
        known = tail.detach().clamp(1e-300, 1)
        side, sign = (1, -1.0) if upper else (0, 1.0)
        with torch.no_grad():
            x = start.clamp(1e-150, 1e150)
            for _ in range(self.rounds):
                reached = self._tails(x)[side].clamp_min(1e-300)
                slope = sign * torch.exp(self._log_density_times_x(x) - reached.log())
                step = (known.log() - reached.log()) / slope
                step = step.nan_to_num(0.0, 2.0, -2.0).clamp(-2, 2)
                x = (x * step.exp()).clamp(1e-150, 1e150)
                if _can_check_convergence(x) and not (step.abs() > 1e-14).any():
                    break
            steepness = sign / self.density(x).clamp_min(1e-300)
        x = x + steepness * (tail - tail.detach())
        x = torch.where(tail == 0, math.inf if upper else 0.0, x)
        return torch.where(tail == 1, 0.0 if upper else math.inf, x)


def _can_check_convergence(x: Tensor) -> bool:
    """Whether an iteration may test for convergence, which on a GPU would be a host sync."""
    return readable_without_sync(x) or torch.compiler.is_compiling()


def _continued_fraction(a: Tensor, b: Tensor, x: Tensor, most: int) -> Tensor:
    """1 + d_1/(1 + d_2/(1 + ...)) of I_x(a, b), forward by Lentz's method; DLMF 8.17.23."""
    tiny = 1e-300
    value, c, d = torch.ones_like(x), torch.ones_like(x), torch.zeros_like(x)
    for i in range(1, most):
        m = i // 2
        if i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 + term * d
        d = 1 / torch.where(d == 0, tiny, d)
        c = 1 + term / c
        c = torch.where(c == 0, tiny, c)
        value = value * (c * d)
        if _can_check_convergence(x) and not ((c * d - 1).abs() > 1e-15).any():
            break
    return value

"""Boltzmann densities exp(-u(x)) in closed form: the double well and products of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Target, log_integral, rejection

__all__ = ["DoubleWell", "ManyWell"]

_WELL = math.sqrt(3.0)


class ManyWell(Target):
    """n independent double wells and as many harmonic coordinates.

    -log p(x) = sum_i u(x_{2i}, x_{2i+1}), u(a, b) = a^4 - 6 a^2 - tilt a + b^2 / 2

    (the double well of Noe et al., "Boltzmann generators", 2019, with the coefficients of Midgley
    et al., "Flow annealed importance sampling bootstrap", 2023, appendix G). Each a has wells near
    +-sqrt(3), separated by a barrier of about 9 kT; the density has 2^n modes. log Z is n times
    that of one well: a one-dimensional quadrature plus log(2 pi) / 2.

    Args:
        wells: n; the dimension is 2 n.
        tilt: in kT per unit length; if positive, the right well has more mass.

    Example:
        >>> round(ManyWell(1).log_normalizer, 4) == round(DoubleWell().log_normalizer, 4)
        True
    """

    name = "many_well"
    extent = 6.0

    def __init__(self, wells: int = 16, *, tilt: float = 0.5) -> None:
        if wells < 1:
            raise ValueError(f"wells must be at least 1, got {wells}")
        if not math.isfinite(tilt):
            raise ValueError(f"tilt must be finite, got {tilt}")
        self.wells, self.tilt = wells, float(tilt)
        self.event_shape = torch.Size([2 * wells])
        one = log_integral(self._log_well, 6.0, 4001)
        self.log_normalizer = wells * (one + 0.5 * math.log(2 * math.pi))

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x)
        a, b = x.unflatten(-1, (self.wells, 2)).unbind(-1)
        return (self._log_well(a) - 0.5 * b.square()).sum(-1)

    def sample(self, count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        a = rejection(count * self.wells, lambda n: self._propose(n, dtype))
        return torch.stack([a, torch.randn_like(a)], -1).reshape(count, 2 * self.wells)

    def right_weight(self) -> float:
        """The probability that a coordinate a is positive, by quadrature."""
        # The midpoint rule on each side of zero.
        a = (torch.arange(6000, dtype=torch.float64) + 0.5) * 1e-3
        right, left = (self._log_well(side).logsumexp(0) for side in (a, -a))
        return float(torch.sigmoid(right - left))

    def _log_well(self, a: Tensor) -> Tensor:
        square = a.square()
        return square * (6 - square) + self.tilt * a

    def _propose(self, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        # log p = 9 - (a^2 - 3)^2 + tilt a, and (a^2 - 3)^2 >= 3 (|a| - sqrt 3)^2: a Gaussian of
        # variance 1/6 on either side, shifted by tilt / 6, of mass in proportion to
        # exp(+-tilt sqrt 3).
        side = torch.where(
            torch.rand(count, dtype=dtype) < torch.sigmoid(torch.tensor(2 * self.tilt * _WELL)),
            1.0,
            -1.0,
        ).to(dtype)
        a = side * _WELL + self.tilt / 6 + torch.randn(count, dtype=dtype) / math.sqrt(6)
        envelope = 3 * (a.abs() - _WELL).square()
        probability = torch.exp(envelope - (a.square() - 3).square())
        return a, torch.where(side * a > 0, probability, 0.0)


class DoubleWell(ManyWell):
    """One double well: -log p(a, b) = a^4 - 6 a^2 - tilt a + b^2 / 2, see :class:`ManyWell`.

    Example:
        >>> well = DoubleWell()
        >>> round(well.right_weight(), 3)
        0.844
    """

    name = "double_well"
    extent = 6.5

    def __init__(self, *, tilt: float = 0.5) -> None:
        super().__init__(1, tilt=tilt)

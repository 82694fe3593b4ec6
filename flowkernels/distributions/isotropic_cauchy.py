"""The isotropic multivariate Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from .. import arguments
from .constraints import checked_if_known, real_vector
from .located import LocatedDistribution

__all__ = ["IsotropicCauchy"]


class IsotropicCauchy(LocatedDistribution):
    r"""Isotropic Cauchy distribution on R^D: multivariate t with one degree of freedom.

    With r = |x - loc| / scale, in nats,

        log p(x) = log Gamma((1 + D)/2) - log Gamma(1/2) - (D/2) log pi - D log scale
                   - ((1 + D)/2) log(1 + r^2).

    For D > 1 it is not a product of Cauchys. If x and y are independent draws, (1-t) x + t y has
    the same distribution. No moment exists: the mean is NaN and the variance infinite. The
    entropy is -log p(loc) + ((1 + D)/2) [psi((1 + D)/2) - psi(1/2)].

    Args:
        loc: the centre (*batch, D), D >= 1, of any floating dtype.
        scale: > 0, a number or a tensor broadcast against the batch.
        validate_args: as everywhere in torch.distributions.

    Raises:
        TypeError: `loc` is not a floating-point tensor.
        ValueError: shapes do not fit; with `validate_args`, a scale that is not positive.

    Source: Lesniak et al. (arXiv 1806.01670), section 2.

    Example:
        >>> law = IsotropicCauchy(torch.zeros(3))
        >>> law.log_prob(torch.zeros(3))  # -2 log pi
        tensor(-2.2895)
        >>> law.log_prob(torch.full((3,), 1e30)).isfinite(), law.rsample((5,)).shape
        (tensor(True), torch.Size([5, 3]))
    """

    arg_constraints = {"loc": real_vector, "scale": constraints.positive}
    support = real_vector
    has_rsample = True
    parameter_name = "scale"
    scale: Tensor

    def __init__(
        self, loc: Tensor, scale: Tensor | float = 1.0, validate_args: bool | None = None
    ) -> None:
        super().__init__(loc, scale, checked_if_known(validate_args, loc, scale))

    @property
    def mean(self) -> Tensor:
        return torch.full_like(self.loc, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.loc, math.inf)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws (*sample_shape, *batch, D): loc + scale * N(0, I_D) / |N(0, 1)|."""
        shape = self._extended_shape(
            arguments.shape(type(self).__name__, "sample_shape", sample_shape)
        )
        wide = torch.promote_types(self.loc.dtype, torch.float32)
        normal = torch.randn(shape, dtype=wide, device=self.loc.device)
        other = torch.randn((*shape[:-1], 1), dtype=wide, device=self.loc.device)
        x = normal / other.abs().clamp_min(torch.finfo(wide).tiny ** 0.5)
        return self.loc + self.scale.unsqueeze(-1) * x.to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats at points (*, D), at least float32, finite for every finite x."""
        self._check_value(value)
        wide = torch.promote_types(torch.promote_types(value.dtype, self.loc.dtype), torch.float32)
        scale = self.scale.to(wide)
        r = (value.to(wide) - self.loc.to(wide)) / scale.unsqueeze(-1)
        half = (1 + self.event_shape[0]) / 2
        return (self._log_peak(scale) - half * log1p_square_norm(r)).to(wide)

    def entropy(self) -> Tensor:
        """In nats."""
        scale = self.scale.to(torch.promote_types(self.scale.dtype, torch.float32))
        half = scale.new_full((), (1 + self.event_shape[0]) / 2, dtype=torch.float64)
        gap = torch.digamma(half) - torch.digamma(torch.full_like(half, 0.5))
        return (half * gap - self._log_peak(scale)).to(scale.dtype)

    def _log_peak(self, scale: Tensor) -> Tensor:
        """The log density at `loc`, in float64."""
        d = self.event_shape[0]
        return math.lgamma((1 + d) / 2) - (1 + d) / 2 * math.log(math.pi) - d * scale.double().log()


def log1p_square_norm(x: Tensor) -> Tensor:
    """log(1 + |x|^2) of x (..., D) in float64; |x|^2 may overflow x's dtype.

    2 log m + log(m^-2 + |x/m|^2), m the largest |x_i|, if m > 1. In float64, because the
    density multiplies the result by D.

    Example:
        >>> log1p_square_norm(torch.tensor([[1e-4, 0.0], [3e30, 4e30]]))
        tensor([1.0000e-08, 1.4137e+02], dtype=torch.float64)
    """
    most, square = _scaled_square_norm(x, 1.0)
    far = most > 1
    rest = torch.where(far, most.reciprocal().square() + square, 1)
    return torch.where(far, 2 * most.log() + rest.log(), torch.log1p(torch.where(far, 0, square)))


def log_square_norm(x: Tensor) -> Tensor:
    """log |x|^2 of x (..., D) in float64; |x|^2 may over- or underflow x's dtype.

    Example:
        >>> log_square_norm(torch.tensor([3e30, 4e30]))
        tensor(141.3740, dtype=torch.float64)
    """
    most, square = _scaled_square_norm(x, torch.finfo(x.dtype).tiny)
    return 2 * most.log() + square.log()


def _scaled_square_norm(x: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """m = max(largest |x_i|, `least`) and |x / m|^2, both in float64.

    The callers' results do not depend on m, so it needs no gradient.
    """
    most = x.detach().abs().amax(-1, keepdim=True).clamp(least, torch.finfo(x.dtype).max)
    square = (x / most).square().sum(-1, dtype=torch.float64)
    return most.squeeze(-1).double(), square

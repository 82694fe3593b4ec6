"""Cauchy bases: straight lines between latents preserve their distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowkernels.distributions import IsotropicCauchy
from flowkernels.interpolation import CauchyLength, Marginal
from flowkernels.interpolation import StandardCauchy as CauchyMarginal

from .base import Base


class StandardCauchy(Base):
    """Independent standard Cauchy coordinates: log p(z) = -sum_i [log pi + log(1 + z_i^2)].

    For independent draws a and b, every point (1-t) a + t b has the same distribution, so the
    path is the straight line (Lesniak et al., arXiv 1806.01670, section 2).

    Args:
        dim: d.

    Example:
        >>> base = StandardCauchy(2)
        >>> round(base.log_prob(torch.zeros(2)).item(), 4)  # -2 log pi
        -2.2895
        >>> base.log_prob(torch.tensor([1e30, 0.0])).isfinite()
        tensor(True)
    """

    loc: Tensor
    marginal: Marginal = CauchyMarginal()

    def __init__(self, dim: int) -> None:
        super().__init__(dim, default_path="linear")
        self.register_buffer("loc", torch.zeros(dim))  # device and dtype of the samples

    def _log_prob(self, z: Tensor) -> Tensor:
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        # Above 1e9, 1 + z^2 rounds to z^2 even in float64, and z^2 may overflow.
        far = z.abs() > 1e9
        near = torch.log1p(torch.where(far, 0, z).square())
        rise = torch.where(far, 2 * torch.where(far, z, 1).abs().log(), near)
        return -rise.sum(-1) - self.dim * math.log(math.pi)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, self.dim)
        wide = torch.promote_types(self.loc.dtype, torch.float32)
        return torch.empty(shape, dtype=wide, device=self.loc.device).cauchy_().to(self.loc.dtype)


class StandardIsotropicCauchy(Base):
    """The isotropic Cauchy on R^d, see :class:`flowkernels.distributions.IsotropicCauchy`.

    The path is the straight line, which preserves the distribution. For d of a few hundred, its
    density is close to the normal's at the normal's typical length sqrt(d).

    Args:
        dim: d.

    Example:
        >>> base = StandardIsotropicCauchy(784)
        >>> base.log_prob(base.sample(3)).shape
        torch.Size([3])
    """

    loc: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim, default_path="linear")
        self.register_buffer("loc", torch.zeros(dim))
        self.radial_marginal = CauchyLength(dim)

    def _log_prob(self, z: Tensor) -> Tensor:
        return IsotropicCauchy(self.loc, validate_args=False).log_prob(z)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        distribution = IsotropicCauchy(self.loc, validate_args=False)
        return distribution.rsample(torch.Size(sample_shape))

"""The Power Spherical base on the sphere S^d."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowkernels.distributions import PowerSpherical
from flowkernels.distributions.gamma_ratio import log_gamma_ratio_rise
from flowkernels.distributions.hyperspherical_uniform import log_area
from flowkernels.distributions.isotropic_cauchy import log1p_square_norm, log_square_norm

from .spherical import SphericalBase


class SphericalPowerSpherical(SphericalBase):
    """z in R^d such that the stereographic projection of scale * z is Power Spherical on S^d.

    With y = scale z, mu = [m, l], L = log(1 + |y|^2) and m' the unit vector along m,

        log((1 + mu.psi(y)) / 2) = log(|sqrt(1 + l) y + sqrt(1 - l) m'|^2 / 2) - L

    and log rho = log 2 - L. These are sums over the latent; the point on the sphere is never
    formed, so the density is finite for every finite z. With mu = -e_{d+1} the first logarithm
    is 0 and y is multivariate t: -(k + d) L up to a constant. Sampling needs no rejection. The
    mean cosine is A(c) = c / (1 + c).

    Args, Raises:
        As :class:`SphericalBase`.

    Source: De Cao & Aziz, The Power Spherical distribution (arXiv 2006.04437).

    Example:
        >>> base = SphericalPowerSpherical(784, concentration_scale=1.5)
        >>> z = base.sample(64)
        >>> round(z.std().item(), 1), base.log_prob(z).shape
        (1.0, torch.Size([64]))
    """

    def _log_prob(self, z: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(z.dtype, self.loc.dtype), torch.float32)
        y = z.to(wide) * self.projection.scale.to(wide)
        kappa, height = self.concentration.double(), log1p_square_norm(y)
        power = self._log_nearness(y) - height
        constant = log_gamma_ratio_rise(kappa, self.dim / 2) - log_area(self.dim + 1)
        log_det = self.dim * (math.log(2) - height) + self.projection.log_det_scale
        return (constant + kappa * power + log_det).to(wide)

    def sphere(self) -> PowerSpherical:
        return PowerSpherical(self.loc, self.concentration, validate_args=False)

    @staticmethod
    def typical_radius(c: float) -> float:
        """sqrt((1 - A) / (1 + A)) = 1 / sqrt(1 + 2c)."""
        return float((1 + 2 * c) ** -0.5)

    def _log_nearness(self, y: Tensor) -> Tensor:
        """log(|sqrt(1 + l) y + sqrt(1 - l) m'|^2 / 2) in float64."""
        m, last = self.loc[:-1].double(), self.loc[-1].double()
        square = m.square().sum()
        # 1 + l and 1 - l, the smaller one from their product |m|^2
        above = torch.where(last < 0, square / (1 - last), 1 + last)
        below = torch.where(last < 0, 1 - last, square / (1 + last))
        # If m = 0, any unit vector is right: one of the two terms is then 0 or constant.
        first = torch.arange(self.dim, device=m.device) == 0
        unit = torch.where(square > 0, m / square.clamp_min(1e-300).sqrt(), first.double())
        point = above.sqrt().to(y.dtype) * y + (below.sqrt() * unit).to(y.dtype)
        return log_square_norm(point) - math.log(2)

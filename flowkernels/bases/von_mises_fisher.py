"""The von Mises-Fisher base on the sphere S^d."""

from __future__ import annotations

import math

from torch import Tensor

from flowkernels import ops
from flowkernels.distributions import VonMisesFisher

from .spherical import SphericalBase


class SphericalVonMisesFisher(SphericalBase):
    """z in R^d such that the stereographic projection of scale * z is vMF on S^d.

    log p(z) = log C_{d+1}(k) + k mu.psi(scale z) + d log rho + d log scale
    (Fadel et al. 2021, section 3), computed by one fused op. The path between two latents is
    the arc between their projections.

    The mean cosine is A(c) = 2c / (1 + sqrt(1 + 4c^2)) up to O(1/d). The paper uses
    c = 1, 1.5 and 2.

    Args, Raises:
        As :class:`SphericalBase`.

    Example:
        >>> import torch
        >>> base = SphericalVonMisesFisher(784, concentration_scale=1.0)
        >>> z = base.sample(64)
        >>> round(z.std().item(), 1)
        1.0
        >>> base.path(z[0], z[1], torch.linspace(0, 1, 5)).shape
        torch.Size([5, 784])
    """

    def _log_prob(self, z: Tensor) -> Tensor:
        y = z * self.projection.scale
        log_prob = ops.stereographic_vmf_log_prob(y, self.loc, self.concentration)
        return log_prob + self.projection.log_det_scale

    def sphere(self) -> VonMisesFisher:
        return VonMisesFisher(self.loc, self.concentration, validate_args=False)

    @staticmethod
    def typical_radius(c: float) -> float:
        """Without cancellation: 1 - A = 2 / (1 + 2c + sqrt(1 + 4c^2))."""
        root = math.sqrt(1 + 4 * c * c)
        mean_cosine = 2 * c / (1 + root)
        return math.sqrt(2 / ((1 + 2 * c + root) * (1 + mean_cosine)))

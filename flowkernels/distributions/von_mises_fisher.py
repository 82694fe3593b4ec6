"""The von Mises-Fisher distribution on the sphere S^(p-1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import arguments, ops
from ..ops.bessel import bessel
from .axial import ConcentratedDistribution
from .resultant import checked_samples, mean_direction

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["VonMisesFisher"]


class VonMisesFisher(ConcentratedDistribution):
    r"""von Mises-Fisher distribution on S^(p-1).

    log p(x) = log C_p(kappa) + kappa loc.x with respect to the sphere's surface measure, in
    nats, evaluated as log C_p(kappa) + kappa - kappa |x - loc|^2 / 2, which does not cancel
    near the mode. With A = I_{p/2}(kappa) / I_{p/2-1}(kappa): mean A loc, entropy
    -log C_p(kappa) - kappa A, KL to the uniform kappa A + log C_p(kappa) - log C_p(0).

    Args:
        loc: mean direction, unit vectors (*batch, p), p >= 2, of any floating dtype.
        concentration: kappa >= 0, a number or a tensor broadcast against the batch; 0 is
            the uniform distribution.
        validate_args: as everywhere in torch.distributions.

    Raises:
        TypeError: `loc` is not a floating-point tensor.
        ValueError: shapes do not fit or p < 2; with `validate_args`, `loc` is not a unit
            vector, the concentration is negative, or a point is off the sphere.

    Source: Mardia & Jupp, Directional Statistics (2000), 9.3.2 and 10.3.1; sampling after
    Ulrich (1984) and Wood (1994).

    Example:
        >>> base = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(10.0))
        >>> base.rsample((5,)).shape, base.log_prob(base.mode).shape
        (torch.Size([5, 3]), torch.Size([]))
        >>> base.mean, base.entropy()
        (tensor([0.0000, 0.0000, 0.9000]), tensor(0.5353))
    """

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws (*sample_shape, *batch, p), with unbiased gradients in both parameters."""
        return ops.vmf_sample(
            self.loc,
            self.concentration,
            arguments.shape(type(self).__name__, "sample_shape", sample_shape),
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats at unit vectors (*, p), at least float32."""
        self._check_value(value)
        return ops.vmf_log_prob(value, self.loc, self.concentration)

    @classmethod
    def fit(cls, samples: Tensor, weights: Tensor | None = None) -> Self:
        r"""The maximum-likelihood fit.

        `loc` is the direction of the sample mean and `concentration` solves A_p(kappa) = r, the
        length of the mean; for r > 1/2 it is computed from 1 - r, which is more accurate.

        Args:
            samples: unit vectors (n, *batch, p); a fit for each element of the batch.
            weights: >= 0, (n,) or (n, *batch); equal when left out.

        Raises:
            TypeError, ValueError: an argument has a wrong type, shape or value, or all samples
                are one point, where the likelihood has no maximum.

        Source: Mardia & Jupp (2000), 10.3.1; Banerjee et al., JMLR 6 (2005), section 4.

        Example:
            >>> x = VonMisesFisher(torch.tensor([0.0, 1.0]), 4.0).sample((2000,))
            >>> fitted = VonMisesFisher.fit(x)
            >>> 3.5 < fitted.concentration < 4.5, fitted.loc[1] > 0.99
            (tensor(True), tensor(True))
        """
        samples, weights = checked_samples(cls.__name__, samples, weights)
        loc, r, complement = mean_direction(cls.__name__, samples, weights)
        dim, near = samples.shape[-1], r > 0.5
        from_r = ops.vmf_concentration(torch.where(near, 0.5, r), dim)
        from_complement = ops.vmf_concentration(
            torch.where(near, complement, 0.5), dim, complement=True
        )
        concentration = torch.where(near, from_complement, from_r).to(samples.dtype)
        return cls(loc, concentration)

    def _cosine_mean(self) -> Tensor:
        return ops.vmf_mean_resultant(self.concentration, self._dim)

    def _cosine_complement(self) -> Tensor:
        return ops.vmf_mean_resultant(self.concentration, self._dim, complement=True)

    def _cosine_variance(self) -> Tensor:
        return cosine_variance(self.concentration, self._dim)

    def _divergence_from_uniform(self) -> Tensor:
        return ops.vmf_divergence(self.concentration, self._dim)


def cosine_variance(kappa: Tensor, dim: int) -> Tensor:
    """A'(kappa), the variance of loc.x."""
    return bessel(kappa, dim / 2 - 1, "vmf_mean_resultant_slope")

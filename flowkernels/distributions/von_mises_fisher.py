"""The von Mises-Fisher distribution on the sphere S^(p-1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import arguments, ops
from ..ops.bessel import bessel
from .axial import ConcentratedDistribution
from .resultant import checked_samples, mean_direction
from .von_mises_fisher_fit import (
    CORRECTIONS,
    Correction,
    concentration_of,
    corrected_concentration,
)

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
    def fit(
        cls, samples: Tensor, weights: Tensor | None = None, *, correction: Correction = "none"
    ) -> Self:
        r"""The maximum-likelihood fit, or one whose concentration is corrected for few samples.

        `loc` is the direction of the sample mean. By maximum likelihood `concentration` solves
        A_p(kappa) = r, the length of the mean; for r > 1/2 it is computed from 1 - r, which is
        more accurate. The mean of n independent points of the sphere has a length of about
        1 / sqrt(n) even if they are uniform, so for few points in many dimensions this kappa is
        far too large: about p / sqrt(n), 29 for 20,000 points in R^4096 whose kappa is 1. The
        corrections are for that; docs/spherical.md has their measured errors.

        Args:
            samples: unit vectors (n, *batch, p); a fit for each element of the batch.
            weights: >= 0, (n,) or (n, *batch); equal when left out.
            correction: "none" is maximum likelihood. "marginal" maximises the likelihood of the
                mean's length alone: A_p(kappa) = r A_p(n r kappa), and 0 if n r^2 <= 1.
                "resultant" is the simpler A_p(kappa)^2 = (n r^2 - 1) / (n - 1), the unbiased
                estimate of A^2, or 0. With weights, n is the effective number
                (sum w)^2 / sum w^2 of samples: weights that count repetitions must be written
                out as samples.

        Raises:
            TypeError, ValueError: an argument has a wrong type, shape or value, or all samples
                are one point, where the likelihood has no maximum.

        Source: Mardia & Jupp (2000), 10.3.1; Banerjee et al., JMLR 6 (2005), section 4; for
        "marginal" Schou, Estimation of the concentration parameter in von Mises-Fisher
        distributions, Biometrika 65 (1978); for "resultant" E r^2 = A^2 + (1 - A^2) / n.

        Example:
            >>> x = VonMisesFisher(torch.tensor([0.0, 1.0]), 4.0).sample((2000,))
            >>> fitted = VonMisesFisher.fit(x)
            >>> 3.5 < fitted.concentration < 4.5, fitted.loc[1] > 0.99
            (tensor(True), tensor(True))
            >>> few = VonMisesFisher(torch.eye(1, 500)[0], 20.0).sample((100,))
            >>> VonMisesFisher.fit(few).concentration > 45
            tensor(True)
            >>> VonMisesFisher.fit(few, correction="marginal").concentration < 35
            tensor(True)
        """
        samples, weights = checked_samples(cls.__name__, samples, weights)
        arguments.choice(f"{cls.__name__}.fit", "correction", correction, CORRECTIONS)
        loc, r, complement = mean_direction(cls.__name__, samples, weights)
        dim = samples.shape[-1]
        if correction == "none":
            concentration = concentration_of(r, complement, dim)
        else:
            count = weights.squeeze(-1).double().square().sum(0).reciprocal()
            concentration = corrected_concentration(
                r.detach(), complement.detach(), count.detach(), dim, correction
            )
        return cls(loc, concentration.to(samples.dtype))

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

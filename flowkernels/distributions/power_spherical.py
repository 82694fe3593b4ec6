"""The Power Spherical distribution on the sphere S^(p-1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Gamma

from .. import arguments, ops
from .axial import ConcentratedDistribution
from .gamma_ratio import digamma_gap, log_gamma_ratio_rise, trigamma_gap
from .hyperspherical_uniform import log_area
from .power_spherical_fit import fit_power_spherical
from .quadrature import unit_interval
from .resultant import checked_samples

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PowerSpherical"]


class PowerSpherical(ConcentratedDistribution):
    r"""Power Spherical distribution on S^(p-1): density (1 + loc.x)^kappa up to a constant.

    With n = p - 1, the cosine loc.x is 2 e - 1, e ~ Beta(n/2 + kappa, n/2), so that sampling
    needs no rejection, and the log density in nats with respect to the surface measure is

        g(kappa) - g(0) - log |S^(p-1)| + kappa log1p(-|x - loc|^2 / 4),
        g(kappa) = log Gamma(n + kappa) - log Gamma(n/2 + kappa).

    Mean kappa / (n + kappa) loc; KL to the uniform g(kappa) - g(0) - kappa g'(kappa).

    Args:
        loc: mean direction, unit vectors (*batch, p), p >= 2, of any floating dtype.
        concentration: kappa >= 0, a number or a tensor broadcast against the batch; 0 is
            the uniform distribution.
        validate_args: as everywhere in torch.distributions.

    Raises:
        TypeError, ValueError: as :class:`VonMisesFisher`.

    Source: De Cao & Aziz, The Power Spherical distribution (arXiv 2006.04437), eq. 3 to 13.

    Example:
        >>> base = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(10.0))
        >>> base.rsample((5,)).shape, base.log_prob(base.mode)  # log(11 / (4 pi))
        (torch.Size([5, 3]), tensor(-0.1331))
        >>> base.mean, base.entropy()
        (tensor([0.0000, 0.0000, 0.8333]), tensor(1.0422))
    """

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws (*sample_shape, *batch, p), with gradients in both parameters.

        With x ~ Gamma(n/2 + kappa) and y ~ Gamma(n/2), x / (x + y) is the Beta variable, the
        cosine (x - y) / (x + y), and the sine 2 sqrt(x y) / (x + y) keeps its digits at
        large concentrations.
        """
        shape = self._extended_shape(
            arguments.shape(type(self).__name__, "sample_shape", sample_shape)
        )
        kappa, n = self._kappa, self._dim - 1
        one = torch.ones_like(kappa)
        x = Gamma(kappa + n / 2, one, validate_args=False).rsample(shape[: -1 - kappa.ndim])
        y = Gamma(one * (n / 2), one, validate_args=False).sample(shape[: -1 - kappa.ndim])
        cosine, sine = (x - y) / (x + y), 2 * (x.sqrt() / (x + y)) * y.sqrt()
        return ops.tangent_normal(self.loc, cosine, sine)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats at unit vectors (*, p), at least float32; -inf at -loc."""
        self._check_value(value)
        kappa = self._kappa
        value, loc = value.to(kappa.dtype), self.loc.to(kappa.dtype)
        # (1 + cosine) / 2 = 1 - |x - loc|^2 / 4 = |x + loc|^2 / 4: use the accurate form.
        apart = (value - loc).square().sum(-1) / 4
        near = apart < 0.5
        log_near = kappa * torch.log1p(-torch.where(near, apart, 0.25))
        beyond = torch.where(near, 0.25, (value + loc).square().sum(-1) / 4)
        power = torch.where(near, log_near, torch.xlogy(kappa, beyond))
        return log_gamma_ratio_rise(kappa, self._half) - log_area(self._dim) + power

    @classmethod
    def fit(cls, samples: Tensor, weights: Tensor | None = None) -> Self:
        """The maximum-likelihood fit, without gradients.

        The optimal `loc` does not depend on the concentration. Given `loc`, the concentration
        equates E[log((1 + loc.x) / 2)] with its mean over the samples.

        Args:
            samples: unit vectors (n, *batch, p); a fit for each element of the batch.
            weights: >= 0, (n,) or (n, *batch); equal when left out.

        Raises:
            TypeError, ValueError: as :meth:`VonMisesFisher.fit`.

        Source: De Cao & Aziz (arXiv 2006.04437), section 3; Fisher scoring.

        Example:
            >>> x = PowerSpherical(torch.tensor([0.0, 1.0]), 4.0).sample((2000,))
            >>> fitted = PowerSpherical.fit(x)
            >>> 3.5 < fitted.concentration < 4.5, fitted.loc[1] > 0.99
            (tensor(True), tensor(True))
        """
        samples, weights = checked_samples(cls.__name__, samples, weights)
        return cls(*fit_power_spherical(samples.detach(), weights.detach()))

    @property
    def _kappa(self) -> Tensor:
        return self.concentration.to(torch.promote_types(self.loc.dtype, torch.float32))

    @property
    def _half(self) -> float:
        return (self._dim - 1) / 2

    def _cosine_mean(self) -> Tensor:
        return self._kappa / (self._kappa + (self._dim - 1))

    def _cosine_complement(self) -> Tensor:
        return (self._dim - 1) / (self._kappa + (self._dim - 1))

    def _cosine_variance(self) -> Tensor:
        kappa, n = self._kappa, self._dim - 1
        return n / (n + kappa) * ((n + 2 * kappa) / (n + kappa)) / (n + 1 + kappa)

    def _divergence_from_uniform(self) -> Tensor:
        """g(k) - g(0) - k g'(k) = -int_0^k s g''(s) ds, by the form that does not cancel."""
        kappa, half = self._kappa, self._half
        near = kappa < 2 * half
        # The singularity of g'' nearest to 0 is at -n/2.
        within = torch.where(near, kappa, 1.0).unsqueeze(-1)
        node, weight = unit_interval(kappa)
        bend = trigamma_gap(half + within * node, half)
        low = (weight * node * bend).sum(-1) * within.squeeze(-1).square()
        far = torch.where(near, 2 * half, kappa)
        high = log_gamma_ratio_rise(far, half) - far * digamma_gap(half + far, half)
        return torch.where(near, low, high)

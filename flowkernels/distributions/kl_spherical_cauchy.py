"""Divergences of the spherical Cauchy distribution, by Moebius transformations of the sphere.

Computed in float64, then rounded to the dtype of the parameters, at least float32.
"""

from __future__ import annotations

from torch import Tensor

from .gamma_ratio import digamma_gap, log_gamma_ratio_rise
from .kl_power_spherical import rounded
from .power_spherical import PowerSpherical
from .spherical_cauchy import SphericalCauchy, divergence_at

__all__ = ["between_spherical_cauchys", "spherical_cauchy_from_power_spherical"]


def between_spherical_cauchys(p: SphericalCauchy, q: SphericalCauchy) -> Tensor:
    """KL(p || q) = KL(q || p), in any two directions.

    A divergence does not change under a bijection of the sphere. The Moebius transformation that
    takes q to the uniform distribution takes p to a spherical Cauchy distribution whose sigma is
    sinh d, d the hyperbolic distance of psi = rho loc of the two in the ball:
    cosh d - 1 = u = 2 |psi_p - psi_q|^2 / ((1 - rho_p^2) (1 - rho_q^2)), so sigma^2 = u (u + 2).
    """
    a, b = p.rho.double(), q.rho.double()
    apart = (p.loc.double() - q.loc.double()).square().sum(-1)
    square = (a - b).square() + a * b * apart
    u = 2 * (square / ((1 - a) * (1 + a))) / ((1 - b) * (1 + b))
    return rounded(divergence_at(u * (u + 2), p.event_shape[0]), p, q)


def spherical_cauchy_from_power_spherical(p: SphericalCauchy, q: PowerSpherical) -> Tensor:
    """KL(p || q), p spherical Cauchy and q Power Spherical.

    With D = KL(p || uniform), n = p - 1, G as in `uniform_from_power_spherical` and
    g = log((1 + rho^2 + 2 rho loc_p.loc_q) / (1 - rho^2)),

        KL = D - (G(k) - G(0)) + k [G'(0) + D / n - g].

    A Moebius transformation M of the sphere has |M(a) - M(b)|^2 = |a - b|^2 |M'(a)| |M'(b)|.
    Take the M that makes p uniform: under p the mean of log(|x + loc_q|^2 / 4) is that under the
    uniform, -G'(0), plus the means of the logarithms of the two derivatives, -D / n and g.
    """
    rho, kappa, half = p.rho.double(), q.concentration.double(), q._half
    wide = SphericalCauchy(p.loc.double(), rho, validate_args=False)
    divergence = wide._divergence_from_uniform()
    together = (p.loc.double() + q.loc.double()).square().sum(-1)
    gain = ((1 - rho).square() + rho * together).log() - ((1 - rho) * (1 + rho)).log()
    start = digamma_gap(kappa.new_full((), half), half)
    slope = start + divergence / (2 * half) - gain
    return rounded(divergence - log_gamma_ratio_rise(kappa, half) + kappa * slope, p, q)

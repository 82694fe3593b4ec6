"""Divergences between the Power Spherical and the other distributions on the sphere.

The divergence of any axial distribution from a von Mises-Fisher one is here, too.

Everything is computed in float64, then rounded to the dtype of the parameters, at least float32:
a divergence is a difference of terms that may be much larger.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from .axial import AxialDistribution
from .bregman import bregman_divergence, log_peak_rise
from .gamma_ratio import digamma_gap, log_gamma_ratio_rise, trigamma_gap
from .power_spherical import PowerSpherical
from .quadrature import unit_interval
from .von_mises_fisher import VonMisesFisher

__all__ = ["axial_from_von_mises_fisher", "rounded", "uniform_from_power_spherical",
           "von_mises_fisher_from_power_spherical"]  # fmt: skip

# The trapezoidal rule in y = log s. The integrand is analytic for |Im y| < pi/2, so that its error
# is about exp(-pi^2 / step), 7e-18; it falls as e^y to the left and as e^(-y (p-1)/2) to the right.
_STEP = 0.25
_LEFT = -37.0
_RIGHT = 40.0  # from where it falls, for concentrations up to 1e17
_FALL = 37.0
_OFFSET = 0.0123  # no node is a round number, at which |kappa loc - s loc'| could be 0


def uniform_from_power_spherical(q: PowerSpherical) -> Tensor:
    """KL(uniform || q) = k G'(0) - G(k), G(k) = log Gamma(2h + k) / Gamma(h + k), h = (p-1)/2.

    As the integral of -(k - s) G''(s), whose integrand is positive, up to k = 2h.
    """
    kappa, half = q.concentration.double(), q._half
    near = kappa < 2 * half
    within = torch.where(near, kappa, 1.0).unsqueeze(-1)
    node, weight = unit_interval(kappa)
    bend = trigamma_gap(half + within * node, half)
    low = (weight * (1 - node) * bend).sum(-1) * within.squeeze(-1).square()
    far = torch.where(near, 2 * half, kappa)
    slope = digamma_gap(torch.full_like(kappa, half), half)
    high = far * slope - log_gamma_ratio_rise(far, half)
    return rounded(torch.where(near, low, high), q)


def axial_from_von_mises_fisher(p: AxialDistribution, q: VonMisesFisher) -> Tensor:
    """KL(p || q), p axial: three terms that are not negative.

    With k the concentration of the von Mises-Fisher distribution whose mean is that of p, of
    length A: KL(p || uniform) - KL(vMF(k) || uniform), since it has the largest entropy of all with
    this mean; the divergence of vMF(k) from one with q's concentration; and
    A k_q |loc_p - loc_q|^2 / 2.
    """
    dim = p.event_shape[0]
    number: Tensor = getattr(p, p.parameter_name)
    wide = type(p)(p.loc.double(), number.double(), validate_args=False)
    mean, complement = wide._cosine_mean(), wide._cosine_complement()
    long = mean > 0.5
    kappa = torch.where(
        long,
        ops.vmf_concentration(torch.where(long, complement, 0.5), dim, complement=True),
        ops.vmf_concentration(torch.where(long, 0.5, mean), dim),
    )
    other = q.concentration.double()
    least = wide._divergence_from_uniform() - ops.vmf_divergence(kappa, dim)
    apart = (p.loc.double() - q.loc.double()).square().sum(-1) / 2
    turn = mean * other * apart
    return rounded(least.clamp_min(0) + bregman_divergence(kappa, other, dim) + turn, p, q)


def von_mises_fisher_from_power_spherical(p: VonMisesFisher, q: PowerSpherical) -> Tensor:
    """KL(p || q), p von Mises-Fisher: KL(p || uniform) - (G(k_q) - G(0)) + k_q J.

    J = -E log((1 + loc_q.x) / 2) is an integral in one dimension, see `_mean_log`.
    """
    dim = p.event_shape[0]
    kappa, power = p.concentration.double(), q.concentration.double()
    first = ops.vmf_divergence(kappa, dim) - log_gamma_ratio_rise(power, q._half)
    loc, other = p.loc.double(), q.loc.double()
    apart, together = ((loc + sign * other).square().sum(-1) / 2 for sign in (-1, 1))
    kappa, apart, together = torch.broadcast_tensors(kappa, apart, together)
    return rounded(first + power * _mean_log(kappa, apart, together, dim), p, q)


def _mean_log(kappa: Tensor, apart: Tensor, together: Tensor, dim: int) -> Tensor:
    r"""-E log((1 + m.x) / 2) for x from vMF(loc, kappa), from 1 - m.loc and 1 + m.loc.

    By Frullani's integral, log((1 + t) / 2) = int_0^inf (e^{-2s} - e^{-s (1+t)}) ds / s, and the
    mean of e^{-s m.x} is known, e^{L(|kappa loc - s m|) - L(kappa)} with L = log C(0) - log C:

        J = int_0^inf e^{-2s} (e^{x(s)} - 1) ds / s,   x = s + L(kappa_s) - L(kappa).

    L(kappa) = kappa - M(kappa). The large terms kappa are taken apart, so that x and x - 2s have
    their digits for s << kappa, s >> kappa and loc = +-m.
    """
    right = _RIGHT + _FALL / ((dim - 1) / 2)
    count = int((right - _LEFT) / _STEP) + 1
    steps = torch.arange(count, dtype=kappa.dtype, device=kappa.device)
    s = (_LEFT + _OFFSET + _STEP * steps).exp()
    k, apart, together = kappa.unsqueeze(-1), apart.unsqueeze(-1), together.unsqueeze(-1)
    square = 2 * (k * s) * apart + (k - s).square()
    length = square.clamp_min(torch.finfo(k.dtype).tiny).sqrt()
    before = s < k  # then kappa_s + s - kappa cancels
    over = torch.where(before, length + (k - s), 1.0)
    lead = torch.where(before, 2 * (k * s) * apart / over, length + (s - k))
    # Not less than -kappa, although rounded.
    rise = log_peak_rise(k.expand_as(length), (lead - s).maximum(-k), dim)
    x = lead - rise
    drop = -2 * (k * s) * together / (length + s + k) - rise  # x - 2s
    small = x < 1
    near = torch.expm1(torch.where(small, x, 0.0)) * (-2 * s).exp()
    far = torch.where(small, 0.0, drop).exp() - (-2 * s).exp()
    return _STEP * torch.where(small, near, far).sum(-1)


def rounded(x: Tensor, *distributions: AxialDistribution) -> Tensor:
    """x in the dtype of the parameters, at least float32."""
    dtype = torch.float32
    for d in distributions:
        dtype = torch.promote_types(dtype, getattr(d, d.parameter_name).dtype)
    return x.to(dtype)

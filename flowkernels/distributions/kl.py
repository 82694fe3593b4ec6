"""Kullback-Leibler divergences, for torch.distributions.kl_divergence. In nats.

docs/divergences.md has the table of all pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

from .. import ops
from .axial import AxialDistribution
from .bregman import bregman_divergence
from .hyperspherical_uniform import HypersphericalUniform
from .isotropic_cauchy import IsotropicCauchy
from .kl_power_spherical import (
    axial_from_von_mises_fisher,
    uniform_from_power_spherical,
    von_mises_fisher_from_power_spherical,
)
from .kl_spherical_cauchy import between_spherical_cauchys, spherical_cauchy_from_power_spherical
from .mixture import MixtureOfVonMisesFisher
from .power_spherical import PowerSpherical
from .spherical_cauchy import SphericalCauchy
from .von_mises_fisher import VonMisesFisher

__all__: list[str] = []


def _same_sphere(p: Distribution, q: Distribution) -> torch.Size:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: {type(p).__name__} and {type(q).__name__} must lie on the same "
            f"sphere, got dimensions {p.event_shape[0]} and {q.event_shape[0]}"
        )
    return torch.broadcast_shapes(p.batch_shape, q.batch_shape)


def _axial_uniform(p: AxialDistribution, q: HypersphericalUniform) -> Tensor:
    return p._divergence_from_uniform().expand(_same_sphere(p, q))


def _uniform_uniform(p: HypersphericalUniform, q: HypersphericalUniform) -> Tensor:
    return torch.zeros_like(p.entropy()).expand(_same_sphere(p, q))


def _uniform_vmf(p: HypersphericalUniform, q: VonMisesFisher) -> Tensor:
    """L(kappa) = log C(0) - log C(kappa): the mean of loc.x is 0."""
    shape = _same_sphere(p, q)
    return -ops.vmf_log_normalizer(q.concentration, p.dim, relative=True).expand(shape)


def _vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """B(k_p, k_q) + A(k_p) k_q |loc_p - loc_q|^2 / 2, two nonnegative terms."""
    _same_sphere(p, q)
    dim, apart = p.event_shape[0], (p.loc - q.loc).square().sum(-1) / 2
    turn = ops.vmf_mean_resultant(p.concentration, dim) * q.concentration * apart
    return bregman_divergence(p.concentration, q.concentration, dim) + turn


def _uniform_power(p: HypersphericalUniform, q: PowerSpherical) -> Tensor:
    return uniform_from_power_spherical(q).expand(_same_sphere(p, q))


def _axial_vmf(p: AxialDistribution, q: VonMisesFisher) -> Tensor:
    _same_sphere(p, q)
    return axial_from_von_mises_fisher(p, q)


def _vmf_power(p: VonMisesFisher, q: PowerSpherical) -> Tensor:
    _same_sphere(p, q)
    return von_mises_fisher_from_power_spherical(p, q)


def _uniform_spherical_cauchy(p: HypersphericalUniform, q: SphericalCauchy) -> Tensor:
    """As in the other direction: the densities' ratio and its reciprocal have the same law."""
    return q._divergence_from_uniform().expand(_same_sphere(p, q))


def _spherical_cauchys(p: SphericalCauchy, q: SphericalCauchy) -> Tensor:
    _same_sphere(p, q)
    return between_spherical_cauchys(p, q)


def _spherical_cauchy_power(p: SphericalCauchy, q: PowerSpherical) -> Tensor:
    _same_sphere(p, q)
    return spherical_cauchy_from_power_spherical(p, q)


def _cauchy_cauchy(p: IsotropicCauchy, q: IsotropicCauchy) -> Tensor:
    """On the line: log1p(((s_p - s_q)^2 + |loc_p - loc_q|^2) / (4 s_p s_q))."""
    dim = p.event_shape[0]
    if q.event_shape != p.event_shape:
        raise ValueError(
            f"kl_divergence: two IsotropicCauchy must have the same dimension, got {dim} and "
            f"{q.event_shape[0]}"
        )
    if dim > 1:
        raise NotImplementedError(
            f"kl_divergence: between two IsotropicCauchy in {dim} dimensions it is an integral in "
            f"two dimensions; {_ESTIMATE}"
        )
    apart = (p.loc - q.loc).squeeze(-1)
    ratio, turn = p.scale / q.scale, (apart / p.scale) * (apart / q.scale)
    return torch.log1p((ratio - 1) * (1 - 1 / ratio) / 4 + turn / 4)


def _two_dimensions(p: AxialDistribution, q: AxialDistribution) -> Tensor:
    raise NotImplementedError(
        f"kl_divergence: of {type(p).__name__} from {type(q).__name__} it is an integral in two "
        f"dimensions; {_ESTIMATE}"
    )


def _mixture(p: Distribution, q: Distribution) -> Tensor:
    raise NotImplementedError(
        f"kl_divergence: of {type(p).__name__} from {type(q).__name__} it is an integral over the "
        f"whole sphere; {_ESTIMATE}"
    )


def _sphere_and_space(p: Distribution, q: Distribution) -> Tensor:
    raise NotImplementedError(
        f"kl_divergence: {type(p).__name__} and {type(q).__name__} have no common support: one "
        "lies on a sphere, the other in all of R^D"
    )


_ESTIMATE = "estimate it: x = p.sample((n,)), (p.log_prob(x) - q.log_prob(x)).mean(0)"
_MIXTURE = MixtureOfVonMisesFisher
_SPHERE = (VonMisesFisher, PowerSpherical, SphericalCauchy, HypersphericalUniform)

for _first, _second, _formula in (
    (VonMisesFisher, VonMisesFisher, _vmf_vmf),
    (VonMisesFisher, PowerSpherical, _vmf_power),
    (VonMisesFisher, HypersphericalUniform, _axial_uniform),
    (PowerSpherical, VonMisesFisher, _axial_vmf),
    (PowerSpherical, PowerSpherical, _two_dimensions),
    (PowerSpherical, HypersphericalUniform, _axial_uniform),
    (SphericalCauchy, SphericalCauchy, _spherical_cauchys),
    (SphericalCauchy, PowerSpherical, _spherical_cauchy_power),
    (SphericalCauchy, VonMisesFisher, _axial_vmf),
    (SphericalCauchy, HypersphericalUniform, _axial_uniform),
    (VonMisesFisher, SphericalCauchy, _two_dimensions),
    (PowerSpherical, SphericalCauchy, _two_dimensions),
    (HypersphericalUniform, SphericalCauchy, _uniform_spherical_cauchy),
    (HypersphericalUniform, VonMisesFisher, _uniform_vmf),
    (HypersphericalUniform, PowerSpherical, _uniform_power),
    (HypersphericalUniform, HypersphericalUniform, _uniform_uniform),
    (IsotropicCauchy, IsotropicCauchy, _cauchy_cauchy),
    *((_kind, IsotropicCauchy, _sphere_and_space) for _kind in (*_SPHERE, _MIXTURE)),
    *((IsotropicCauchy, _kind, _sphere_and_space) for _kind in (*_SPHERE, _MIXTURE)),
    *((_kind, _MIXTURE, _mixture) for _kind in (*_SPHERE, _MIXTURE)),
    *((_MIXTURE, _kind, _mixture) for _kind in _SPHERE),
):
    register_kl(_first, _second)(_formula)

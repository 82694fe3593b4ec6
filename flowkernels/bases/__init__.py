"""Base distributions of flows, as modules."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.distributions import Distribution

from flowkernels import arguments

from .base import Base, BaseDistribution
from .cauchy import StandardCauchy, StandardIsotropicCauchy
from .conditional_normal import ConditionalNormal
from .dirichlet import LogRatioDirichlet, StickBreakingDirichlet
from .from_distribution import FromDistribution
from .normal import StandardNormal
from .power_spherical import SphericalPowerSpherical
from .resampled import ResampledBase, factor_size
from .spherical import ProjectedBase, SphericalBase
from .von_mises_fisher import SphericalVonMisesFisher
from .von_mises_fisher_mixture import SphericalVonMisesFisherMixture

__all__ = [
    "Base",
    "BaseDistribution",
    "ConditionalNormal",
    "FromDistribution",
    "LogRatioDirichlet",
    "ProjectedBase",
    "ResampledBase",
    "SphericalBase",
    "SphericalPowerSpherical",
    "SphericalVonMisesFisher",
    "SphericalVonMisesFisherMixture",
    "StandardCauchy",
    "StandardIsotropicCauchy",
    "StandardNormal",
    "StickBreakingDirichlet",
    "base_names",
    "make_base",
]

# Constructors by name: (latent dimension d, concentration scale c) -> base.
_BASES: dict[str, Callable[[int, float], Base]] = {
    "normal": lambda dim, c: StandardNormal(dim),
    "vmf": SphericalVonMisesFisher,
    "power_spherical": SphericalPowerSpherical,
    "dirichlet": StickBreakingDirichlet,
    "dirichlet_alr": LogRatioDirichlet,
    "cauchy": lambda dim, c: StandardCauchy(dim),
    "isotropic_cauchy": lambda dim, c: StandardIsotropicCauchy(dim),
    "resampled": lambda dim, c: ResampledBase(dim),
    "resampled_factorized": lambda dim, c: ResampledBase(
        dim,
        hidden=(32, 32),
        groups=dim // factor_size(dim),
        num_z_samples=256,
        num_eval_samples=1 << 15,
    ),
}


def base_names() -> list[str]:
    """The names that :func:`make_base` accepts."""
    return list(_BASES)


def make_base(base: str | Base | Distribution, dim: int, concentration_scale: float = 1.0) -> Base:
    """A base by its name (:func:`base_names`), a base module or a torch distribution, on R^dim.

    Raises:
        ValueError: the name is unknown, or ``event_shape`` is not ``(dim,)``.

    Example:
        >>> make_base("vmf", 784, 1.5)
        SphericalVonMisesFisher(
          dim=784, concentration_scale=1.5
          (projection): ScaledStereographic(dim=784, scale=0.014387)
        )
    """
    arguments.integer("make_base", "dim", dim)
    arguments.positive_number("make_base", "concentration_scale", concentration_scale)
    if isinstance(base, str) and base in _BASES:
        return _BASES[base](dim, concentration_scale)
    if isinstance(base, Distribution):
        base = FromDistribution(base)
    if not isinstance(base, nn.Module):
        names = ", ".join(f'"{name}"' for name in _BASES)
        raise ValueError(
            f"make_base: base must be one of {names}, a torch distribution or a base module, "
            f"got {base!r}"
        )
    arguments.module_with("make_base", "base", base, "log_prob", "sample", "event_shape")
    if tuple(base.event_shape) != (dim,):
        raise ValueError(
            f"make_base: base must have event_shape ({dim},), got {tuple(base.event_shape)}"
        )
    return base

"""Distributions on the sphere, and the isotropic Cauchy on R^D, as torch.distributions."""

from . import kl as _kl  # noqa: F401  (registers the divergences)
from .constraints import unit_sphere
from .hyperspherical_uniform import HypersphericalUniform
from .isotropic_cauchy import IsotropicCauchy
from .mixture import MixtureOfVonMisesFisher
from .power_spherical import PowerSpherical
from .spherical_cauchy import SphericalCauchy
from .von_mises_fisher import VonMisesFisher

__all__ = [
    "HypersphericalUniform",
    "IsotropicCauchy",
    "MixtureOfVonMisesFisher",
    "PowerSpherical",
    "SphericalCauchy",
    "VonMisesFisher",
    "unit_sphere",
]

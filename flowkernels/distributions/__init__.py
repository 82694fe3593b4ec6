"""Distributions on the sphere, in the manner of torch.distributions."""

from . import kl as _kl  # noqa: F401  (registers the divergences)
from .constraints import unit_sphere
from .hyperspherical_uniform import HypersphericalUniform
from .power_spherical import PowerSpherical
from .von_mises_fisher import VonMisesFisher

__all__ = ["HypersphericalUniform", "PowerSpherical", "VonMisesFisher", "unit_sphere"]

"""Distributions on the sphere, in the manner of torch.distributions."""

from .constraints import unit_sphere
from .hyperspherical_uniform import HypersphericalUniform
from .von_mises_fisher import VonMisesFisher

__all__ = ["HypersphericalUniform", "VonMisesFisher", "unit_sphere"]

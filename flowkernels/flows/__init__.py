"""Normalizing flows."""

from .flow import Flow
from .glow import glow
from .maf import maf
from .nsf import nsf
from .realnvp import realnvp

__all__ = ["Flow", "glow", "maf", "nsf", "realnvp"]

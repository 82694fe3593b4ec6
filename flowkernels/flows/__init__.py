"""Normalizing flows."""

from .flow import Flow
from .glow import glow
from .realnvp import realnvp

__all__ = ["Flow", "glow", "realnvp"]

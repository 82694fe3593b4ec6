"""Base distributions of flows, as modules."""

from torch import nn

from .base import Base
from .normal import StandardNormal
from .von_mises_fisher import SphericalVonMisesFisher

__all__ = ["Base", "SphericalVonMisesFisher", "StandardNormal", "make_base"]


def make_base(base: "str | Base", dim: int, concentration_scale: float = 1.0) -> Base:
    """``"normal"``, ``"vmf"`` or a base module, as a base on R^dim.

    Raises:
        ValueError: another name, or a module of another ``event_shape``.
    """
    if base == "normal":
        return StandardNormal(dim)
    if base == "vmf":
        return SphericalVonMisesFisher(dim, concentration_scale)
    if not isinstance(base, nn.Module):
        raise ValueError(f'base must be "normal", "vmf" or a base module, got {base!r}')
    if tuple(base.event_shape) != (dim,):
        raise ValueError(f"base must have event_shape ({dim},), got {tuple(base.event_shape)}")
    return base

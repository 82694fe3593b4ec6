"""Unnormalised densities: in the plane, double wells, and a molecule."""

from collections.abc import Callable

from .alanine import AlanineDipeptide
from .base import Target, grid_2d
from .internal_coordinates import ZMatrix
from .planar import CircleOfGaussians, Rings, TwoMoons
from .wells import DoubleWell, ManyWell

__all__ = [
    "AlanineDipeptide",
    "CircleOfGaussians",
    "DoubleWell",
    "ManyWell",
    "Rings",
    "Target",
    "TwoMoons",
    "ZMatrix",
    "grid_2d",
    "make_target",
    "target_names",
]

_TARGETS: dict[str, Callable[[], Target]] = {
    "two_moons": TwoMoons,
    "circle": CircleOfGaussians,
    "rings": Rings,
    "double_well": DoubleWell,
}


def target_names() -> list[str]:
    """The names that :func:`make_target` accepts: densities in the plane."""
    return list(_TARGETS)


def make_target(name: str) -> Target:
    """A target in the plane by its name.

    Raises:
        ValueError: the name is unknown.

    Example:
        >>> make_target("rings").event_shape
        torch.Size([2])
    """
    if name not in _TARGETS:
        raise ValueError(f"target must be one of {', '.join(_TARGETS)}, got {name!r}")
    return _TARGETS[name]()

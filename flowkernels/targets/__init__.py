"""Densities known in closed form: in the plane, and Boltzmann distributions of simple energies."""

from collections.abc import Callable

from .base import Target, grid_2d
from .planar import CircleOfGaussians, Rings, TwoMoons
from .wells import DoubleWell, ManyWell

__all__ = [
    "CircleOfGaussians",
    "DoubleWell",
    "ManyWell",
    "Rings",
    "Target",
    "TwoMoons",
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
    """The names that :func:`make_target` knows: densities in the plane."""
    return list(_TARGETS)


def make_target(name: str) -> Target:
    """A target in the plane by its name.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> make_target("rings").event_shape
        torch.Size([2])
    """
    if name not in _TARGETS:
        raise ValueError(f"target must be one of {', '.join(_TARGETS)}, got {name!r}")
    return _TARGETS[name]()

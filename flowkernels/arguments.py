"""Checks of what a user gives to flows, bijections and bases.

Every message names the owner, the argument, what was expected and what came. A wrong type is a
TypeError, a value out of range a ValueError.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.ops._errors import is_number

__all__ = [
    "choice",
    "flag",
    "floating_dtype",
    "floating_tensor",
    "integer",
    "module_with",
    "number",
    "positive_number",
    "shape",
    "tensor",
    "vectors",
    "widths",
]


def _shown(value: object) -> str:
    plain = isinstance(value, (str, int, float, complex, list, tuple, type(None)))
    return f"{value!r:.60}" if plain else type(value).__name__


def _index(value: Any) -> int:
    """A whole number; TypeError for what is none, or is one by chance."""
    if isinstance(value, (bool, Tensor)):
        raise TypeError
    return operator.index(value)


def _indices(value: Any) -> list[int]:
    """A sequence of whole numbers, likewise."""
    if isinstance(value, (str, bytes, Tensor)):
        raise TypeError
    return [_index(each) for each in value]


def integer(owner: str, name: str, value: Any, least: int = 1, why: str = "") -> int:
    """A whole number from `least`; `why` explains the bound.

    Example:
        >>> integer("Chi", "dim", 2.5)
        Traceback (most recent call last):
        ...
        TypeError: Chi: dim must be an integer, got 2.5
        >>> integer("Chi", "dim", 0)
        Traceback (most recent call last):
        ...
        ValueError: Chi: dim must be at least 1, got 0
    """
    try:
        whole = _index(value)
    except TypeError:
        raise TypeError(f"{owner}: {name} must be an integer, got {_shown(value)}") from None
    if whole < least:
        reason = f" ({why})" if why else ""
        raise ValueError(f"{owner}: {name} must be at least {least}{reason}, got {whole}")
    return whole


def number(owner: str, name: str, value: Any) -> float:
    """A real number; NaN is one, which no range contains."""
    if not is_number(value):
        raise TypeError(f"{owner}: {name} must be a number, got {_shown(value)}")
    return float(value)


def positive_number(owner: str, name: str, value: Any) -> float:
    """A finite number above 0.

    Example:
        >>> positive_number("SphericalBase", "scale", -1)
        Traceback (most recent call last):
        ...
        ValueError: SphericalBase: scale must be positive and finite, got -1
    """
    if not 0 < number(owner, name, value) < math.inf:
        raise ValueError(f"{owner}: {name} must be positive and finite, got {value}")
    return float(value)


def flag(owner: str, name: str, value: Any) -> bool:
    """True or False; what might be true by chance is refused.

    Example:
        >>> flag("Flow", "recompute", "no")
        Traceback (most recent call last):
        ...
        TypeError: Flow: recompute must be True or False, got 'no'
    """
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name} must be True or False, got {_shown(value)}")
    return value


def choice(owner: str, name: str, value: Any, choices: Sequence[str]) -> str:
    """One of several strings.

    Example:
        >>> choice("AffineCoupling", "transform", "both", ("first", "second"))
        Traceback (most recent call last):
        ...
        ValueError: AffineCoupling: transform must be one of first, second, got 'both'
    """
    if not isinstance(value, str) or value not in choices:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{owner}: {name} must be one of {', '.join(choices)}, got {_shown(value)}")
    return value


def widths(owner: str, name: str, value: Any, repeats: int = 0) -> tuple[int, ...]:
    """The widths of hidden layers, each at least 1; with `repeats`, n means (n, ..., n).

    Example:
        >>> widths("realnvp", "hidden", 64, repeats=2)
        (64, 64)
        >>> widths("realnvp", "hidden", [64, 0])
        Traceback (most recent call last):
        ...
        ValueError: realnvp: hidden must be positive, got [64, 0]
    """
    try:
        found = _indices([value] * repeats if repeats and isinstance(value, int) else value)
    except TypeError:
        raise TypeError(f"{owner}: {name} must be integers, got {_shown(value)}") from None
    if any(width < 1 for width in found):
        raise ValueError(f"{owner}: {name} must be positive, got {_shown(value)}")
    return tuple(found)


def shape(owner: str, name: str, value: Any) -> torch.Size:
    """A shape, from a sequence of integers >= 0.

    Example:
        >>> shape("VonMisesFisher", "sample_shape", [2, 3])
        torch.Size([2, 3])
        >>> shape("VonMisesFisher", "sample_shape", 5)
        Traceback (most recent call last):
        ...
        TypeError: VonMisesFisher: sample_shape must be a sequence of integers >= 0, got 5
    """
    if isinstance(value, torch.Size):
        return value
    wanted = f"{owner}: {name} must be a sequence of integers >= 0, got {_shown(value)}"
    try:
        size = torch.Size(_indices(value))
    except (TypeError, RuntimeError):  # the latter for numbers beyond 64 bits
        raise TypeError(wanted) from None
    if any(n < 0 for n in size):
        raise ValueError(wanted)
    return size


def floating_dtype(owner: str, dtype: Any) -> torch.dtype:
    """A floating-point dtype, the default one for None."""
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{owner}: dtype must be a floating-point torch.dtype, got {dtype!r:.60}")
    return dtype


def module_with(owner: str, name: str, value: Any, *needs: str) -> None:
    """Raises for what is no module with these attributes.

    Example:
        >>> module_with("Inverse", "bijection", nn.Linear(2, 2), "inverse")
        Traceback (most recent call last):
        ...
        TypeError: Inverse: bijection must be a module with `inverse`, got Linear
    """
    if not isinstance(value, nn.Module) or not all(hasattr(value, need) for need in needs):
        wanted = " and ".join(f"`{need}`" for need in needs)
        raise TypeError(
            f"{owner}: {name} must be a module{f' with {wanted}' if wanted else ''}, got "
            f"{_shown(value)}"
        )


def tensor(owner: str, name: str, value: Any) -> None:
    """Raises for what is no dense, real tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided or value.is_complex():
        kind = value.dtype if value.layout == torch.strided else value.layout
        raise TypeError(f"{owner}: {name} must be a dense, real tensor, got {kind}")


def floating_tensor(owner: str, name: str, value: Any) -> None:
    """Raises for what is no dense tensor of floating-point numbers.

    Example:
        >>> floating_tensor("Standardize", "loc", torch.tensor([1, 2]))
        Traceback (most recent call last):
        ...
        TypeError: Standardize: loc must be floating point, got torch.int64
    """
    tensor(owner, name, value)
    if not value.is_floating_point():
        raise TypeError(f"{owner}: {name} must be floating point, got {value.dtype}")


def vectors(owner: str, name: str, value: Any, dim: int) -> None:
    """Raises for what has not the shape (*batch, dim).

    Example:
        >>> vectors("StandardNormal", "z", torch.ones(4, 5), 6)
        Traceback (most recent call last):
        ...
        ValueError: StandardNormal: z must have shape (*batch, 6), got (4, 5)
    """
    tensor(owner, name, value)
    if value.ndim == 0 or value.shape[-1] != dim:
        raise ValueError(
            f"{owner}: {name} must have shape (*batch, {dim}), got {tuple(value.shape)}"
        )

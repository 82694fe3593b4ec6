"""Which of our scale functions a function of another library is."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Scale", "clamp_of", "scale_of"]

# Where functions are compared: on both sides of 0, of a clamp at 3 and of large values.
_POINTS = torch.tensor([-40.0, -7.3, -2.0, -0.6, 0.0, 0.2, 1.1, 2.6, 3.4, 9.0, 40.0])


class Scale(NamedTuple):
    """A scale function of `ops.affine_coupling`."""

    scale_fn: str
    bound: float = 2.0
    gain: float = 1.0

    def options(self) -> dict[str, Any]:
        """Its keywords."""
        options: dict[str, Any] = {"scale_fn": self.scale_fn, "bound": self.bound}
        if self.gain != 1:
            options["gain"] = self.gain
        return options


_SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "sigmoid": lambda r: torch.sigmoid(r + 2),
    "floored_sigmoid": lambda r: torch.sigmoid(r + 2) + 1e-3,
    "softplus": lambda r: (F.softplus(r) + 1e-3).clamp(0, 3),
    "floored_softplus": lambda r: F.softplus(r) + 1e-3,
}


def _recall(function: Any, classify: Callable[[Any], Any], known: dict[Any, Any]) -> Any:
    """What `classify` says of a function without state, of which the code is all."""
    if isinstance(function, types.FunctionType):
        if function.__closure__ is not None or function.__defaults__:
            return None
        key: Any = function.__code__
    elif isinstance(function, types.BuiltinFunctionType):
        key = function
    else:
        return None
    if key not in known:
        known[key] = classify(function)
    return known[key]


def _values(function: Callable[[Tensor], Any], points: Tensor) -> Tensor | None:
    """The function's values, or None where it has none for these points."""
    with torch.no_grad():
        try:
            values = function(points)
        except Exception:  # whatever a function of somebody else's raises
            return None
    return values if isinstance(values, Tensor) and values.shape == points.shape else None


def _same(values: Tensor | None, others: Tensor) -> bool:
    # FrEIA's 2 (sigmoid(u) - .5) is tanh(u / 2) to rounding of 1.
    return values is not None and torch.allclose(values, others, rtol=1e-12, atol=1e-15)


_known_scales: dict[Any, Scale | None] = {}
_known_clamps: dict[Any, tuple[str, float] | None] = {}


def scale_of(function: Any) -> Scale | None:
    """The scale function with s(r) = function(r), or None."""
    found: Scale | None = _recall(function, classify_scale, _known_scales)
    return found


def classify_scale(function: Callable[[Tensor], Any]) -> Scale | None:
    """The same of any function, by its values in float64."""
    points = _POINTS.double()
    values = _values(function, points)
    return next((Scale(name) for name, f in _SCALES.items() if _same(values, f(points))), None)


def clamp_of(function: Any, clamp: float) -> Scale | None:
    """The scale function with log s(r) = clamp function(r), where clamp > 0, or None.

    FrEIA's three are 0.636 atan(u), tanh(u) and 2 (sigmoid(u) - 1/2) = tanh(u / 2); ours divide
    by the bound inside, which a gain undoes.
    """
    found: tuple[str, float] | None = _recall(function, _classify_clamp, _known_clamps)
    if found is None or not clamp > 0:
        return None
    name, inside = found
    return Scale(name, float(clamp), float(clamp) * inside)


def _classify_clamp(function: Callable[[Tensor], Any]) -> tuple[str, float] | None:
    points = _POINTS.double()
    values = _values(function, points)
    for name, inside, formula in _clamps():
        if _same(values, formula(points)):
            return name, inside
    return None


@cache
def _clamps() -> list[tuple[str, float, Callable[[Tensor], Tensor]]]:
    return [
        ("atan", 1.0, lambda u: 0.636 * torch.atan(u)),
        ("tanh", 1.0, torch.tanh),
        ("tanh", 0.5, lambda u: torch.tanh(u / 2)),
    ]

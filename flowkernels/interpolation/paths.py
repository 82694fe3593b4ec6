"""Paths between two latent points.

Every path is a function ``path(a, b, t)`` with a, b of shape (*batch, D) and

- t a number or 0-d tensor -> (*batch, D),
- t (T,) -> (*batch, T, D),
- t (*batch, T) -> (*batch, T, D),

path(a, b, 0) = a and path(a, b, 1) = b. :func:`get_path` looks up a path by name and
:func:`register_path` adds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from flowkernels import ops

Path: TypeAlias = Callable[[Tensor, Tensor, "Tensor | float"], Tensor]
_P = TypeVar("_P", bound=Path)

_PATHS: dict[str, Path] = {}


def register_path(name: str) -> Callable[[_P], _P]:
    """Decorator: register a path for :func:`get_path` under `name`.

    Example:
        >>> @register_path("nearest")
        ... def nearest(a, b, t):
        ...     return a if t < 0.5 else b
        >>> get_path("nearest") is nearest
        True
    """

    def add(path: _P) -> _P:
        _PATHS[name] = path
        return path

    return add


def path_names() -> list[str]:
    """The names of all registered paths, sorted."""
    return sorted(_PATHS)


def get_path(name: str) -> Path:
    """The path registered under `name`.

    Raises:
        ValueError: the name is unknown; the message lists the registered names.
    """
    try:
        return _PATHS[name]
    except KeyError:
        raise ValueError(f"path must be one of {path_names()}, got {name!r}") from None


@register_path("linear")
def linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The straight line (1-t) a + t b.

    Example:
        >>> linear(torch.zeros(2), torch.ones(2), 0.25).tolist()
        [0.25, 0.25]
    """
    a, b, t = aligned(a, b, t)
    return (1 - t) * a + t * b


@register_path("norm_corrected")
def norm_corrected(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The direction of the straight line, with the length interpolated from |a| to |b|.

    lin ((1-t)|a| + t|b|) / |lin|, lin = (1-t) a + t b (Fadel et al. 2021,
    section 2); 0 where lin = 0.

    Example:
        >>> path = norm_corrected(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), 0.5)
        >>> round(path.norm().item(), 5)
        2.0
    """
    a, b, t = aligned(a, b, t)
    line, length = (1 - t) * a + t * b, (1 - t) * norm(a) + t * norm(b)
    return _unit(line) * length


@register_path("normalized_linear")
def normalized_linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The straight line, rescaled to preserve N(0, I).

    lin / sqrt((1-t)^2 + t^2), lin = (1-t) a + t b.

    For independent a, b ~ N(0, I) every point of the path is N(0, I)
    (Agustsson et al. 2019, "Optimal transport maps for distribution
    preserving operations on latent spaces").

    Example:
        >>> a, b = torch.randn(2, 100_000, 1)
        >>> round(normalized_linear(a, b, 0.5).std().item(), 1)
        1.0
    """
    a, b, t = aligned(a, b, t)
    return ((1 - t) * a + t * b) / torch.sqrt((1 - t).square() + t.square())


@register_path("slerp")
def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The direction along the great circle from a to b, the length interpolated from |a| to |b|.

    ops.slerp(a, b, t) ((1-t)|a| + t|b|). On the unit sphere it equals
    :func:`flowkernels.ops.slerp`, including the arc chosen for opposite points;
    0 where a or b is 0.

    Example:
        >>> path = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 1 / 3)
        >>> [round(v, 5) for v in path.tolist()]
        [0.86603, 0.5]
    """
    direction = ops.slerp(a, b, t)
    a, b, t = aligned(a, b, t)
    return direction * ((1 - t) * norm(a) + t * norm(b))


def aligned(a: Tensor, b: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and t as tensors that broadcast to the path's shape."""
    if a.shape != b.shape or a.ndim == 0:
        raise ValueError(
            f"a and b must have the same shape (*batch, D), got {tuple(a.shape)} "
            f"and {tuple(b.shape)}"
        )
    # `new_full` fills on the device; `as_tensor` would copy from the host.
    number = isinstance(t, (int, float))
    t = a.new_full((), float(t)) if number else torch.as_tensor(t, dtype=a.dtype, device=a.device)
    if t.ndim == 0:
        return a, b, t
    if t.ndim > 1 and t.shape[:-1] != a.shape[:-1]:
        raise ValueError(
            f"t must be a number, 0-d, (T,) or (*batch, T) with batch {tuple(a.shape[:-1])}, "
            f"got shape {tuple(t.shape)}"
        )
    return a.unsqueeze(-2), b.unsqueeze(-2), t.unsqueeze(-1)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm along the last dimension, kept as size 1."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    length = norm(x)
    return x / torch.where(length > 0, length, 1)

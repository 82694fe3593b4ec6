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
from numbers import Real
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from flowkernels import arguments, ops
from flowkernels.synchronization import readable_without_sync

Path: TypeAlias = Callable[[Tensor, Tensor, "Tensor | float"], Tensor]
Vectors = TypeVar("Vectors", Tensor, NDArray[Any])
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
def slerp(a: Vectors, b: Vectors, t: Tensor | ArrayLike | float, *, event_ndim: int = 1) -> Vectors:
    r"""The direction along the great circle from a to b, the length interpolated from |a| to |b|.

    .. math:: y = \bigl((1-t) |a| + t |b|\bigr) \,
        \frac{\sin((1-t)\omega) \, \hat a + \sin(t\omega) \, \hat b}{\sin\omega}, \qquad
        \hat a = \frac{a}{|a|}, \quad \hat b = \frac{b}{|b|}, \quad \omega = \angle(a, b)

    Each pair of vectors has an angle of its own, and no angle is a special case:
    :func:`flowkernels.ops.slerp` is exact from 0 to pi. On the unit sphere y equals that op,
    including the arc chosen for opposite points. Where a or b is 0 there is no angle, and y is
    the straight line (1-t) a + t b.

    Args:
        a: (\*batch, \*event): a tensor on any device, float16, bfloat16 (both computed in
            float32), float32 or float64, or a NumPy array.
        b: of the shape of a, and like it a tensor or an array.
        t: a number or 0-d; (T,), the same for all pairs; or (\*batch, T). Values outside [0, 1]
            continue the great circle.
        event_ndim: how many of the last dimensions make up one vector: 1 for rows, 3 for
            latents (\*batch, C, H, W), ``a.ndim`` for a whole tensor.

    Returns:
        (\*batch, \*event) for a number or 0-d t, else (\*batch, T, \*event), in the dtype of a
        and b; a NumPy array for NumPy arrays.

    Raises:
        ValueError: shapes do not fit, or event_ndim is not from 1 to ``a.ndim``.
        TypeError: a and b are not floating, or one is a tensor and the other an array.

    Source: Shoemake, Animating Rotation with Quaternion Curves (SIGGRAPH 1985); for latents
    White, Sampling Generative Networks (arXiv 1609.04468), section 2.

    Example:
        >>> path = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 1 / 3)
        >>> [round(v, 5) for v in path.tolist()]
        [0.86603, 0.5]
        >>> noise = torch.randn(2, 4, 64, 64)  # two latents of a diffusion model
        >>> slerp(noise[0], noise[1], torch.linspace(0, 1, 8), event_ndim=3).shape
        torch.Size([8, 4, 64, 64])
    """
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return _great_circle(_from_array("a", a), _from_array("b", b), t, event_ndim).numpy()
    return _great_circle(a, b, t, event_ndim)


def _from_array(name: str, array: Any) -> Tensor:
    """A NumPy array as a tensor, which is only read."""
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise TypeError(f"slerp: {name} must be a NumPy array, as the other end is, got {kind}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(f"slerp: {name} must be float16, float32 or float64, got {array.dtype}")
    # torch takes neither the other byte order nor negative strides, and warns of read-only memory.
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def _great_circle(a: Tensor, b: Tensor, t: Any, event_ndim: int) -> Tensor:
    """:func:`slerp` of tensors."""
    arguments.floating_tensor("slerp", "a", a)
    arguments.floating_tensor("slerp", "b", b)
    arguments.integer("slerp", "event_ndim", event_ndim)
    if a.shape != b.shape or a.ndim < event_ndim:
        raise ValueError(
            f"slerp: a and b must have the same shape of at least event_ndim = {event_ndim} "
            f"dimensions, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    dtype = torch.promote_types(a.dtype, b.dtype)
    compute = torch.promote_types(dtype, torch.float32)
    batch, event = a.shape[: a.ndim - event_ndim], a.shape[a.ndim - event_ndim :]
    rows = (*batch, event.numel())
    a, b = a.to(compute).reshape(rows), b.to(compute).reshape(rows)
    if not isinstance(t, (Tensor, Real)):
        t = torch.as_tensor(t, dtype=compute, device=a.device)
    lengths = norm(a), norm(b)
    length_a, length_b, fraction = aligned(*lengths, t)
    length = (1 - fraction) * length_a + fraction * length_b
    y = ops.slerp(*_with_directions((a, b), lengths), t) * length
    return y.to(dtype).reshape(*y.shape[:-1], *event)


def _with_directions(
    ends: tuple[Tensor, Tensor], lengths: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The ends, but where one is 0 the other in its place: the direction of the straight line."""
    (a, b), (without_a, without_b) = ends, (length == 0 for length in lengths)
    nowhere = without_a | without_b
    if readable_without_sync(nowhere) and not nowhere.any():
        return ends
    return torch.where(without_a, b, a), torch.where(without_b, a, b)


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

"""Points around an axis of the sphere: the tangent-normal decomposition, sampled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public
from ._fake import require, require_precision, require_shape
from ._vmap import batched_first
from .composite import tangent_normal as formulas


def draw_seed(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """64 random bits from torch's generator: the key of one call's random numbers."""
    return torch.randint(-(2**63), 2**63 - 1, (), device=device, generator=generator)


def _vmap(op: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of (loc, cosine, sine, seed) and its backward (grad, ...) under vmap."""
    backward = op.name().endswith("_backward")  # type: ignore[attr-defined]

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> Any:
        size = info.batch_size
        first = [batched_first(a, d, size) for a, d in zip(args, in_dims, strict=True)]
        *given, loc, cosine, sine, seed = first
        missing = cosine.ndim + 1 - loc.ndim
        even = loc.reshape(size, *[1] * missing, *loc.shape[1:])
        out = op(*given, even, cosine, sine, seed.contiguous())
        if not backward:
            return out, 0
        return (out[0].reshape(loc.shape), *out[1:]), (0, 0, 0, 0)

    return rule


def _fake(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> Tensor:
    for name, part in (("cosine", cosine), ("sine", sine)):
        require_precision(name, part, loc, "loc")
    require(
        loc.ndim > 0 and loc.shape[-1] >= 2,
        f"`loc` must have shape (*batch, p) with p >= 2, got {tuple(loc.shape)}",
    )
    require_shape("sine", sine, cosine.shape, "`cosine`")
    batch = loc.shape[:-1]
    require(
        torch.broadcast_shapes(batch, cosine.shape) == cosine.shape,
        f"the batch of `loc` {tuple(batch)} does not broadcast to the shape of `cosine` "
        f"{tuple(cosine.shape)}",
    )
    require_seed(seed, cosine.shape)
    return loc.new_empty((*cosine.shape, loc.shape[-1]))


def require_seed(seed: Tensor, batch: torch.Size) -> None:
    """That there is a seed for each element of the batch's leading dimensions."""
    require(
        seed.shape == batch[: seed.ndim],
        f"`seed` must have the leading dimensions of the batch {tuple(batch)}, got "
        f"{tuple(seed.shape)}",
    )


_tangent_normal = declare(
    "tangent_normal",
    formula=formulas.tangent_normal,
    backward_formula=formulas.tangent_normal_backward,
    fake=_fake,
    vmap=_vmap,
)


def _around(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    angle = torch.rand(size[:-1], dtype=torch.float64) * 3
    loc = torch.nn.functional.normalize(torch.randn(size[-1], dtype=torch.float64), dim=0)
    return loc, angle.cos(), angle.sin()


@public(
    "tangent_normal",
    usage="tangent_normal(loc, cosine, sine)",
    same="`v = torch.randn(..., p); v = v - (v @ loc) * loc; cosine * loc + sine * v / v.norm()`",
    inputs=Inputs(tensors=_around, options=lambda size: {"seed": torch.tensor(size[0])}),
)
def tangent_normal(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor | None = None) -> Tensor:
    r"""A point at a given angle from an axis, in a random direction orthogonal to the axis.

    .. math:: x = \cos\theta\, \mu + \sin\theta\, \xi, \qquad \xi \perp \mu

    with :math:`\xi` uniform on the unit sphere of the hyperplane orthogonal to :math:`\mu`. Every
    rotationally symmetric distribution is that of such points, with its own distribution of
    :math:`\cos\theta`.
    The random numbers are made on the fly (Philox, one stream for each row), so that x is
    written once and nothing else is; the same seed gives the same random bits, and the same
    points to rounding, in every precision, on every device and number of threads. The
    isometry that takes e_1 to :math:`\mu` is exact next to the axes.

    Args:
        loc: axes :math:`\mu`, unit vectors (\*batch, p), p >= 2, float16, bfloat16,
            float32 or float64.
        cosine: :math:`\cos\theta`, (\*shape) to which the batch broadcasts; float32, or
            float64 where `loc` is.
        sine: :math:`\sin\theta`, of the shape and dtype of `cosine`.
        seed: int64, 0-d, or of the leading dimensions of `cosine`, one stream for each;
            drawn from torch's generator where left out. Takes no gradient.

    Returns:
        x (\*shape, p) in the dtype of `loc`; differentiable in `loc`, `cosine` and `sine`
        at fixed random numbers.

    Raises:
        ValueError: for shapes that do not fit or p < 2.
        TypeError: for dtypes that are not floating, or do not go together.

    Source: Mardia & Jupp, Directional Statistics (2000), 9.1.2.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> north = torch.tensor([0.0, 0.0, 1.0])
        >>> cosine = torch.full((4,), 0.6)
        >>> x = ops.tangent_normal(north, cosine, torch.full((4,), 0.8))
        >>> x @ north
        tensor([0.6000, 0.6000, 0.6000, 0.6000])
    """
    if seed is None and isinstance(loc, Tensor):
        seed = draw_seed(loc.device)
    out: Tensor = _tangent_normal(loc, cosine, sine, seed)
    return out

"""Bijections and flows as transforms of torch.distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.bijections import Bijection
from flowkernels.bijections import context as contexts
from flowkernels.distributions.constraints import real_event
from flowkernels.flows import Flow
from flowkernels.flows.context import batched, of_rows

from .fused import FusedTransform

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BijectionTransform", "Direction", "as_transform", "checked_context"]

Direction = Literal["to_data", "to_latent"]


def as_transform(
    bijection: Bijection | Flow,
    *,
    direction: Direction = "to_data",
    context: Tensor | None = None,
    event_dim: int = 1,
    shapes: tuple[Sequence[int], Sequence[int]] | None = None,
    cache_size: int = 0,
) -> BijectionTransform:
    r"""A bijection or a flow as a transform of torch.distributions, sharing its parameters.

    Our ``forward`` maps data to latent. The transform of a ``TransformedDistribution`` maps the
    base to the data, which is the default here; that of zuko's ``NormalizingFlow`` maps the data to
    the base, ``direction="to_latent"``. One is the ``inv`` of the other.

    Args:
        bijection: a :class:`flowkernels.bijections.Bijection`, or a
            :class:`flowkernels.flows.Flow` of continuous data, whose base is not used.
        direction: ``to_data`` or ``to_latent``.
        context: (\*batch, \*context_shape), if the bijection reads one: raw contexts of a flow,
            features (\*batch, c) of a bijection. Its batch broadcasts with that of x.
        event_dim: of a bijection that keeps shapes: 1 for vectors, 3 for images. A flow has its
            own.
        shapes: of one datum and of one latent, for a bijection that changes the shape.
        cache_size: 0 or 1, see :class:`FusedTransform`.

    Returns:
        A transform, which is also a module. It has dtypes and devices of the bijection.

    Raises:
        ValueError: an argument does not fit; the message names it.
        TypeError: a context is missing or not read, or the flow's data are discrete.

    Example:
        >>> from torch.distributions import TransformedDistribution
        >>> from flowkernels.flows import nsf
        >>> flow = nsf(3, layers=2, hidden=8).eval()
        >>> base = flow.base.as_distribution()
        >>> density = TransformedDistribution(base, as_transform(flow))
        >>> x = density.sample((5,))
        >>> torch.allclose(density.log_prob(x), flow.log_prob(x))
        True
        >>> from flowkernels.bijections import ScaledStereographic
        >>> to_sphere = as_transform(
        ...     ScaledStereographic(2), direction="to_latent", shapes=((2,), (3,))
        ... )
        >>> to_sphere(torch.zeros(2)).tolist()
        [0.0, 0.0, -1.0]
    """
    arguments.module_with("as_transform", "bijection", bijection, "inverse")
    return BijectionTransform(
        bijection, direction=direction, context=context, event_dim=event_dim, shapes=shapes,
        cache_size=cache_size,
    )  # fmt: skip


class BijectionTransform(FusedTransform, nn.Module):
    """A bijection or a flow as a torch transform; see :func:`as_transform`.

    It is also a module, whose parameters are those of the bijection: optimizers, ``nn.ModuleList``
    and ``pyro.module`` take it.
    """

    def __init__(
        self,
        bijection: Bijection | Flow,
        *,
        direction: Direction = "to_data",
        context: Tensor | None = None,
        event_dim: int = 1,
        shapes: tuple[Sequence[int], Sequence[int]] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size=cache_size)
        owner = type(self).__name__
        arguments.module_with(owner, "bijection", bijection, "inverse")
        arguments.choice(owner, "direction", direction, get_args(Direction))
        arguments.integer(owner, "event_dim", event_dim)
        if isinstance(bijection, Flow):
            if bijection.dequantize is not None:
                raise TypeError(
                    f"{owner}: bijection must map continuous data, got a flow of discrete data; "
                    "its `bijection` alone maps dequantized data"
                )
            if shapes is not None or event_dim != 1:
                raise ValueError(f"{owner}: shapes and event_dim are the flow's own, omit them")
            shapes = bijection.event_shape, bijection.latent_shape
        self.bijection = bijection
        self.direction: Direction = direction
        self._context = (checked_context(owner, bijection, context),)  # not a parameter of ours
        self._shapes: tuple[torch.Size, torch.Size] | None = None
        dims = event_dim, event_dim
        if shapes is not None:
            if not isinstance(shapes, (tuple, list)) or len(shapes) != 2 or not all(shapes):
                raise ValueError(
                    f"{owner}: shapes must be two shapes of at least one dimension, of a datum and "
                    f"of a latent, got {shapes!r:.60}"
                )
            data, latent = (arguments.shape(owner, "shapes", shape) for shape in shapes)
            self._shapes, dims = (data, latent), (len(data), len(latent))
        if direction == "to_data":
            dims = dims[1], dims[0]
        self.domain, self.codomain = real_event(dims[0]), real_event(dims[1])

    @property
    def context(self) -> Tensor | None:
        """What the map is conditioned on."""
        return self._context[0]

    def _with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(x, inverse=self.direction == "to_data")

    def _inverse_with_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(y, inverse=self.direction == "to_latent")

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        # By `forward`, which never has to go through the dimensions one by one.
        if self.direction == "to_latent":
            return self._mapped(x, inverse=False)[1]
        return -self._mapped(y, inverse=False)[1]

    def _mapped(self, value: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """The bijection's `forward` or `inverse` of (*batch, *event)."""
        event = self._event_shape(value.shape, latent=inverse)
        first = value.ndim - len(event)
        context, batch = self.context, value.shape[:first]
        if context is not None:
            batch = self._with_context_batch(batch)
            value = value.expand(*batch, *event)
        if isinstance(self.bijection, Flow):
            method = self.bijection.inverse if inverse else self.bijection
            return method(value) if context is None else method(value, context)
        rows = value.reshape(math.prod(batch), *event)
        own = None if context is None else of_rows(context, "x", batch)
        mapped = (contexts.inverse if inverse else contexts.forward)(self.bijection, rows, own)
        return mapped[0].reshape(*batch, *mapped[0].shape[1:]), mapped[1].reshape(batch)

    def _event_shape(self, shape: Sequence[int], latent: bool) -> torch.Size:
        """The last dimensions of data or latents; raises if they are not what is mapped."""
        owner = type(self).__name__
        if self._shapes is None:
            dims = self.domain.event_dim
            if len(shape) < dims:
                raise ValueError(
                    f"{owner}: shape must have at least {dims} dimensions, got {tuple(shape)}"
                )
            return torch.Size(shape[len(shape) - dims :])
        event = self._shapes[latent]
        if torch.Size(shape[max(len(shape) - len(event), 0) :]) != event:
            of = "latents" if latent else "data"
            raise ValueError(f"{owner}: shape of {of} must be {batched(event)}, got {tuple(shape)}")
        return event

    def _with_context_batch(self, batch: Sequence[int]) -> torch.Size:
        """A batch shape broadcast with that of the context."""
        if self.context is None:
            return torch.Size(batch)
        own = self.context.shape[: self.context.ndim - self._context_dim]
        try:
            return torch.broadcast_shapes(batch, own)
        except RuntimeError:
            raise ValueError(
                f"{type(self).__name__}: the batch shape {tuple(batch)} must broadcast with that "
                f"of the context, {tuple(own)}"
            ) from None

    @property
    def _context_dim(self) -> int:
        """The number of dimensions of one context."""
        return len(self.bijection.context_shape) if isinstance(self.bijection, Flow) else 1

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._shape_after(shape, from_latent=self.direction == "to_data")

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._shape_after(shape, from_latent=self.direction == "to_latent")

    def _shape_after(self, shape: Sequence[int], from_latent: bool) -> torch.Size:
        event = self._event_shape(shape, latent=from_latent)
        batch = self._with_context_batch(shape[: len(shape) - len(event)])
        return torch.Size(
            (*batch, *(event if self._shapes is None else self._shapes[not from_latent]))
        )

    def with_cache(self, cache_size: int = 1) -> Self:
        new = super().with_cache(cache_size)
        if new is not self:
            new._modules = self._modules.copy()
        return new

    __repr__ = nn.Module.__repr__

    def extra_repr(self) -> str:
        context = "" if self.context is None else f", context={tuple(self.context.shape)}"
        return f"direction={self.direction!r}{context}"


def checked_context(owner: str, bijection: Any, context: Tensor | None) -> Tensor | None:
    """The context, if it is one that the bijection reads."""
    features = contexts.features_of(bijection)
    shape = bijection.context_shape if isinstance(bijection, Flow) else torch.Size([features])
    if not features:
        if context is not None:
            raise TypeError(
                f"{owner}: context must be None, as the bijection reads none, got "
                f"{type(context).__name__}"
            )
        return None
    wanted = batched(shape)
    if context is None:
        raise TypeError(f"{owner}: context must be a tensor {wanted}, got None")
    arguments.tensor(owner, "context", context)
    if context.ndim < len(shape) or context.shape[context.ndim - len(shape) :] != shape:
        raise ValueError(f"{owner}: context must have shape {wanted}, got {tuple(context.shape)}")
    return context

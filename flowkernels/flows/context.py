"""The contexts of a flow: from what a user gives to what bijections and bases read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.precision import autocasts

__all__ = ["batched", "embed", "needless", "of_rows", "split"]


def batched(shape: torch.Size) -> str:
    """A shape behind any batch shape, for messages."""
    return f"({', '.join(['*batch', *map(str, shape)])})"


def split(name: str, x: Any, event_shape: torch.Size) -> tuple[Tensor, torch.Size]:
    """An argument (*batch, *event_shape) of a flow, with one batch dimension, and its batch."""
    arguments.tensor("Flow", name, x)
    ndim = x.ndim - len(event_shape)
    if ndim < 0 or x.shape[ndim:] != event_shape:
        raise ValueError(
            f"Flow: {name} must have shape {batched(event_shape)}, got {tuple(x.shape)}"
        )
    return x.reshape(-1, *event_shape), x.shape[:ndim]


def needless(name: str, value: Any) -> TypeError:
    """The error for a context, or what belongs to one, given to a flow that reads none."""
    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.60}"
    return TypeError(
        f"Flow: {name} must be None, as neither bijection nor base reads a context, got {got}"
    )


def embed(
    context: Any,
    shape: torch.Size,
    features: int,
    embedding: nn.Module | None,
    dtype: torch.dtype,
    device: torch.device | None,
) -> Tensor:
    """Features (*batch, c) of contexts (*batch, *shape), for a flow of this dtype and device."""
    if context is None:
        raise TypeError(
            f"Flow: context must have shape {batched(shape)}, as this flow reads one, got None"
        )
    rows, batch = split("context", context, shape)
    if device not in (None, context.device):
        raise ValueError(
            f"Flow: context must be on the flow's device {device}, got {context.device}"
        )
    if embedding is None:
        if context.dtype != dtype and not autocasts(context.device.type):
            raise TypeError(
                f"Flow: context must have the flow's dtype {dtype}, got {context.dtype}; convert it"
            )
        return context.to(dtype)
    found = embedding(rows)
    wanted = (len(rows), features)
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"Flow: embedding must return a tensor of shape {wanted}, got {got}")
    return found.to(dtype).reshape(*batch, features)


def of_rows(context: Tensor, name: str, batch: torch.Size) -> Tensor:
    """Contexts (R, c) for the rows of a batch, each for as many consecutive ones; R is small.

    Example:
        >>> of_rows(torch.zeros(3, 1, 7), "x", torch.Size([3, 5])).shape
        torch.Size([3, 7])
        >>> of_rows(torch.zeros(5, 7), "x", torch.Size([3, 5])).shape
        torch.Size([15, 7])
    """
    own, features = context.shape[:-1], context.shape[-1]
    size = (*[1] * (len(batch) - len(own)), *own)
    if len(size) > len(batch) or any(n not in (1, m) for n, m in zip(size, batch, strict=True)):
        raise ValueError(
            f"Flow: context must have a batch shape that broadcasts to {tuple(batch)}, that of "
            f"{name}, got {tuple(own)}"
        )
    # The leading dimensions are the contexts' own; over the others, of size 1, they are shared.
    leading = next(i for i in range(len(size) + 1) if all(n == 1 for n in size[i:]))
    if size[:leading] != tuple(batch[:leading]):
        size = tuple(batch)
    return context.expand(*size, features).reshape(-1, features)

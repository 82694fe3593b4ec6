"""Inverses of autoregressive maps, by definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .affine_coupling import affine_coupling
from .mlp import mlp
from .rational_quadratic_spline import rational_quadratic_spline


def masks(
    features: int,
    context: int,
    degrees: Sequence[Sequence[int]],
    input_order: Sequence[int],
    of_outputs: Tensor,
) -> list[Tensor]:
    """1 where a unit sees an input, from the first layer to the last (Germain et al., eq. 13).

    `of_outputs` has the feature that each output is of.
    """
    of_inputs = torch.zeros(features + context, dtype=torch.long)
    of_inputs[torch.tensor(input_order, dtype=torch.long)] = torch.arange(1, features + 1)
    levels = [of_inputs, *(torch.tensor(d, dtype=torch.long) for d in degrees)]
    found = [(b[:, None] >= a).double() for a, b in itertools.pairwise(levels)]
    return [*found, (of_inputs[of_outputs][:, None] > levels[-1]).double()]


def _solved(
    solve: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    of_outputs: Tensor,
    z: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    degrees: Sequence[Sequence[int]],
    context: Tensor | None,
    input_order: Sequence[int] | None,
) -> tuple[Tensor, Tensor]:
    """As many passes of the masked network as features; each makes one more of them right."""
    features = z.shape[-1]
    order = list(range(features)) if input_order is None else list(input_order)
    extra = 0 if context is None else context.shape[-1]
    found = masks(features, extra, degrees, order, of_outputs)
    masked = [w * m.to(w) for w, m in zip(weights, found, strict=True)]
    rows = z.reshape(z.shape[:-1].numel(), features)
    given = (
        () if context is None else (context.expand(*z.shape[:-1], extra).reshape(len(rows), extra),)
    )
    x, log_det = torch.zeros_like(rows), rows.sum(1) * 0
    for d in order:
        y, log_det = solve(rows, mlp(torch.cat([x, *given], 1), masked, biases))
        x = torch.where(torch.arange(features, device=x.device) == d, y, x)
    return x.reshape(z.shape), log_det.reshape(z.shape[:-1])


def affine_autoregressive_inverse(
    z: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    degrees: Sequence[Sequence[int]],
    context: Tensor | None = None,
    input_order: Sequence[int] | None = None,
    layout: str = "shift_scale",
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The inverse coupling of each feature, given those before it."""
    own = torch.arange(z.shape[-1])
    return _solved(
        lambda rows, params: affine_coupling(rows, params, layout=layout, inverse=True, **options),
        own.repeat_interleave(2) if layout.startswith("interleaved") else own.repeat(2),
        z, weights, biases, degrees, context, input_order,
    )  # fmt: skip


def spline_autoregressive_inverse(
    z: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    degrees: Sequence[Sequence[int]],
    context: Tensor | None = None,
    input_order: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The inverse spline of each feature, given those before it."""
    features = z.shape[-1]
    return _solved(
        lambda rows, params: rational_quadratic_spline(rows, params, inverse=True, **options),
        torch.arange(features).repeat_interleave(len(biases[-1]) // features),
        z, weights, biases, degrees, context, input_order,
    )  # fmt: skip

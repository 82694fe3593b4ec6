"""The inverse of an autoregressive map, by definition."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .affine_coupling import affine_coupling
from .mlp import mlp


def masks(
    features: int,
    context: int,
    degrees: Sequence[Sequence[int]],
    input_order: Sequence[int],
    layout: str,
) -> list[Tensor]:
    """1 where a unit sees an input, from the first layer to the last (Germain et al., eq. 13)."""
    of_inputs = torch.zeros(features + context, dtype=torch.long)
    of_inputs[torch.tensor(input_order, dtype=torch.long)] = torch.arange(1, features + 1)
    of_features = of_inputs[:features]
    repeated = (
        of_features.repeat_interleave(2) if layout == "interleaved" else of_features.repeat(2)
    )
    levels = [of_inputs, *(torch.tensor(d, dtype=torch.long) for d in degrees)]
    found = [(b[:, None] >= a).double() for a, b in itertools.pairwise(levels)]
    return [*found, (repeated[:, None] > levels[-1]).double()]


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
    """As many passes of the masked network as features; each makes one more of them right."""
    features = z.shape[-1]
    order = list(range(features)) if input_order is None else list(input_order)
    extra = 0 if context is None else context.shape[-1]
    masked = [
        w * m.to(w) for w, m in zip(weights, masks(features, extra, degrees, order, layout),
                                    strict=True)
    ]  # fmt: skip
    rows = z.reshape(z.shape[:-1].numel(), features)
    given = () if context is None else (
        context.expand(*z.shape[:-1], extra).reshape(len(rows), extra),
    )  # fmt: skip
    x, log_det = torch.zeros_like(rows), rows.sum(1) * 0
    for d in order:
        params = mlp(torch.cat([x, *given], 1), masked, biases)
        y, log_det = affine_coupling(rows, params, layout=layout, inverse=True, **options)
        x = torch.where(torch.arange(features) == d, y, x)
    return x.reshape(z.shape), log_det.reshape(z.shape[:-1])

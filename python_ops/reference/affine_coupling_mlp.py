"""Affine coupling and its network, by definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .affine_coupling import affine_coupling_split
from .identity_split import identity_split
from .mlp import mlp


def affine_coupling_mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    transform: str = "second",
    activation: str = "relu",
    negative_slope: float = 0.01,
    residual: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The network reads the kept part, the coupling its output."""
    kept, _ = identity_split(x, weights[-1].shape[0] // 2, transform=transform)
    params = mlp(
        kept,
        weights,
        biases,
        activation=activation,
        negative_slope=negative_slope,
        residual=residual,
    )
    return affine_coupling_split(x, params, transform=transform, **options)

"""A multilayer perceptron in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import elu, leaky_relu, linear

Activation = Literal["relu", "leaky_relu", "elu", "tanh"]


def activate(h: Tensor, activation: str, negative_slope: float) -> Tensor:
    """The activation between the layers."""
    match activation:
        case "relu":
            return h.relu()
        case "leaky_relu":
            return leaky_relu(h, negative_slope)
        case "elu":
            return elu(h)
        case "tanh":
            return torch.tanh(h)
    raise ValueError(f"unknown activation {activation!r}")


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    activation: str = "relu",
    negative_slope: float = 0.01,
    residual: bool = False,
) -> Tensor:
    """x -> W_n a(... a(W_1 x + b_1) ...) + b_n, or with residual blocks in between."""
    last = len(weights) - 1
    stream = h = linear(x, weights[0], biases[0])
    for i in range(1, last + 1):
        if not (residual and i == last):
            h = activate(h, activation, negative_slope)
        h = linear(h, weights[i], biases[i])
        if residual and i % 2 == 0 and i < last:
            stream = h = stream + h
    return h

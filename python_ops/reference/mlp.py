"""A multilayer perceptron, by definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _activate(h: Tensor, activation: str, negative_slope: float) -> Tensor:
    match activation:
        case "relu":
            return h.relu()
        case "leaky_relu":
            return torch.where(h > 0, h, negative_slope * h)
        case "elu":
            return torch.where(h > 0, h, h.clamp(max=0).exp() - 1)
        case "tanh":
            return h.tanh()
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
    """h -> W h + b for each layer, the activation between them; or blocks of two that add to h."""

    def a(h: Tensor) -> Tensor:
        return _activate(h, activation, negative_slope)

    layers = list(zip(weights, biases, strict=True))
    weight, bias = layers.pop(0)
    h = x @ weight.mT + bias
    if residual:
        while len(layers) > 1:
            (first, first_bias), (second, second_bias) = layers.pop(0), layers.pop(0)
            h = h + a(a(h) @ first.mT + first_bias) @ second.mT + second_bias
        weight, bias = layers.pop(0)
        return h @ weight.mT + bias
    for weight, bias in layers:
        h = a(h) @ weight.mT + bias
    return h

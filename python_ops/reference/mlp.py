"""A ReLU network, by definition."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def mlp(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """h -> W h + b, with max(0, h) between the layers."""
    h = x @ weights[0].mT + biases[0]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        h = h.relu() @ weight.mT + bias
    return h

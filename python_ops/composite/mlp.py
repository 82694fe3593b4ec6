"""A ReLU network in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import linear


def mlp(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """x -> W_n relu(... relu(W_1 x + b_1) ...) + b_n."""
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = linear(x if i == 0 else x.relu(), weight, bias)
    return x

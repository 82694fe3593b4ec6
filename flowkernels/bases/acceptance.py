"""The acceptance networks of a resampled base: one per group, evaluated together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["GroupedAcceptance"]


class GroupedAcceptance(nn.Module):
    """Logits l_g(e_g) of the acceptance probabilities a_g = sigmoid(l_g), G groups at once.

    Each group has its own network; a layer is one batched matrix product over the groups. The
    last layer is initialised to zero, so a new base accepts every proposal with probability 1/2
    and its distribution is the proposal's.

    Args:
        groups: G.
        size: s, coordinates in a group.
        hidden: widths of the hidden layers (tanh).

    Example:
        >>> network = GroupedAcceptance(groups=3, size=2, hidden=(8,))
        >>> network(torch.randn(5, 3, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, groups: int, size: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = (size, *hidden, 1)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            bound = 0.0 if layer == len(hidden) else 1 / math.sqrt(fan_in)
            weight = torch.empty(groups, fan_in, fan_out).uniform_(-bound, bound)
            bias = torch.empty(groups, 1, fan_out).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def forward(self, e: Tensor) -> Tensor:
        """Logits (B, G) of standardised latents (B, G, s), in the dtype of e."""
        rows = e.transpose(0, 1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            rows = torch.baddbmm(
                bias.to(e.dtype), rows.tanh() if layer else rows, weight.to(e.dtype)
            )
        return rows.squeeze(-1).transpose(0, 1)

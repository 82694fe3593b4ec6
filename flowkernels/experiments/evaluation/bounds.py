"""Importance-weighted bounds on the likelihood of discrete data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["importance_weighted"]


def importance_weighted(
    bits_per_dim: Callable[[Tensor], Tensor], draws: int
) -> Callable[[Tensor], Tensor]:
    """Bits per dimension by the importance-weighted bound, from those by the one-sample bound.

    A flow on dequantised images gives l = log p(x + u) - log q(u | x) for one draw of the noise u,
    whose expectation is a lower bound on log P(x). With K draws,

        log P(x) >= E[log (1 / K) sum_k exp(l_k)] >= E[l],

    and the bound becomes tight as K grows (Burda et al. 2016, arXiv 1509.00519, theorem 1; for
    dequantisation Hoogeboom et al. 2021, arXiv 2001.11235).

    Args:
        bits_per_dim: maps images (B, C, H, W) to -l / (D log 2), with new noise at every call.
        draws: K.

    Example:
        >>> flow = lambda x: 3 + torch.rand(len(x), generator=torch.Generator().manual_seed(0))
        >>> float(importance_weighted(flow, 1)(torch.zeros(1, 1, 2, 2)))
        3.4962...
    """

    def bound(images: Tensor) -> Tensor:
        nats = images[0].numel() * math.log(2)
        weights = torch.stack([-nats * bits_per_dim(images).double() for _ in range(draws)])
        return (math.log(draws) - weights.logsumexp(0)) / nats

    return bound

"""Gauss-Legendre quadrature over [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["unit_interval"]

# If the nearest singularity is at least an interval length from the centre, the error is about
# (2 + sqrt 3)^-32, below the rounding of float64.
_POINTS, _MASSES = np.polynomial.legendre.leggauss(16)
_NODES: list[float] = ((_POINTS + 1) / 2).tolist()
_WEIGHTS: list[float] = (_MASSES / 2).tolist()


def unit_interval(like: Tensor) -> tuple[Tensor, Tensor]:
    """16 nodes and weights in the dtype and on the device of `like`."""
    return _vector(_NODES, like), _vector(_WEIGHTS, like)


def _vector(numbers: list[float], like: Tensor) -> Tensor:
    if like.is_cpu or torch.compiler.is_compiling():
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)
    # Filled on the device one by one: copying a list would synchronize host and device.
    return torch.stack([like.new_full((), number) for number in numbers])

"""The standard Gaussian base."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Base


class StandardNormal(Base):
    """N(0, I) on R^d: log p(z) = -|z|^2 / 2 - d log(2 pi) / 2.

    Args:
        dim: d.
        default_path: path of ``interpolate``, a name of :mod:`flowkernels.interpolation`.

    Example:
        >>> base = StandardNormal(2)
        >>> round(base.log_prob(torch.zeros(2)).item(), 4)
        -1.8379
        >>> base.sample(5).shape
        torch.Size([5, 2])
    """

    loc: Tensor

    def __init__(self, dim: int, default_path: str = "norm_corrected") -> None:
        super().__init__(dim, default_path)
        self.register_buffer("loc", torch.zeros(dim))  # device and dtype of the samples

    def _log_prob(self, z: Tensor) -> Tensor:
        dtype = torch.promote_types(z.dtype, torch.float32)
        return -0.5 * (z.to(dtype).square().sum(-1) + self.dim * math.log(2 * math.pi))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, self.dim)
        return torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)

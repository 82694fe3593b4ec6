"""The constraint that a vector lies on the unit sphere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["unit_sphere"]


class _UnitSphere(constraints.Constraint):
    """Vectors of unit Euclidean length along the last dimension.

    The length may differ from 1 by max(1e-5, 8 eps) of the dtype, so that vectors
    normalised in a narrower type still pass.
    """

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        tolerance = max(1e-5, 8 * torch.finfo(value.dtype).eps)
        length = torch.linalg.vector_norm(value, dim=-1, dtype=_accumulate(value.dtype))
        return (length - 1).abs() <= tolerance


def _accumulate(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


unit_sphere = _UnitSphere()

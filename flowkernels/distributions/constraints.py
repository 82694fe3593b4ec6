"""The constraints of the arguments and supports: unit vectors, and real vectors and events."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraint_registry import biject_to, transform_to
from torch.distributions.transforms import Transform

from ..synchronization import has_values

__all__ = ["checked_if_known", "real_event", "real_vector", "unit_sphere"]


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


class _RealVector(constraints.Constraint):
    """torch's `real_vector`, whose check fails for empty batches (its reshape is ambiguous)."""

    event_dim = 1
    base_constraint = constraints.real

    def check(self, value: Tensor) -> Tensor:
        return (value == value).all(-1)


class _RealEvent(constraints.Constraint):
    """Real tensors whose last `event_dim` dimensions make up one event."""

    base_constraint = constraints.real

    def __init__(self, event_dim: int) -> None:
        self.event_dim = event_dim

    def check(self, value: Tensor) -> Tensor:
        return (value == value).all(tuple(range(-self.event_dim, 0)))

    def __repr__(self) -> str:
        return f"RealEvent({self.event_dim})"


def real_event(event_dim: int) -> constraints.Constraint:
    """Real tensors with events of one dimension or more, which may be none.

    Example:
        >>> real_event(2).check(torch.zeros(0, 3, 4)).shape
        torch.Size([0])
    """
    return real_vector if event_dim == 1 else _RealEvent(event_dim)


def _identity(constraint: constraints.Constraint) -> Transform:
    real = constraints.real
    transform: Transform = biject_to(constraints.independent(real, constraint.event_dim))
    return transform


def _accumulate(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def checked_if_known(validate_args: bool | None, *arguments: object) -> bool | None:
    """`validate_args`, but False where an argument has no values that could be checked."""
    known = all(has_values(a) for a in arguments if isinstance(a, Tensor))
    return validate_args if known else False


unit_sphere = _UnitSphere()
real_vector = _RealVector()
for _registry in (biject_to, transform_to):
    _registry.register(_RealVector, _identity)
    _registry.register(_RealEvent, _identity)

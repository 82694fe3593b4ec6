"""The stereographic projection as a transform of torch.distributions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.distributions.constraints import real_vector, unit_sphere

from .fused import FusedTransform

__all__ = ["StereographicTransform"]


class StereographicTransform(FusedTransform):
    r"""The stereographic projection of R^d onto the sphere S^d of R^{d+1}, less its north pole.

    y = :math:`[x \rho, 1 - \rho]`, :math:`\rho = 2 / (1 + |x|^2)`. An event grows from d to d + 1
    elements, so there is no square Jacobian: ``log_abs_det_jacobian`` is d log rho, the log of the
    factor by which the map changes volumes. Densities on the sphere are thus with respect to its
    area: that of ``TransformedDistribution(base, StereographicTransform())``, and those that
    ``TransformedDistribution(on_sphere, StereographicTransform().inv)`` takes to R^d.

    Args:
        cache_size: 0 or 1, see :class:`FusedTransform`.

    Shapes:
        x (\*batch, d), y (\*batch, d + 1) of unit length, log-det (\*batch).

    Source: Gemici, Rezende & Mohamed (arXiv 1611.02304), section 4.

    Example:
        >>> from torch.distributions import TransformedDistribution
        >>> from flowkernels.distributions import VonMisesFisher
        >>> on_sphere = VonMisesFisher(torch.tensor([0.0, 0.0, -1.0]), torch.tensor(2.0))
        >>> in_plane = TransformedDistribution(on_sphere, StereographicTransform().inv)
        >>> in_plane.event_shape, in_plane.log_prob(torch.zeros(2)).shape
        (torch.Size([2]), torch.Size([]))
    """

    domain = real_vector
    codomain = unit_sphere

    def _with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return ops.stereographic(x)

    def _inverse_with_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return ops.stereographic_inverse(y)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._resized("shape", shape, 1)

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._resized("shape", shape, -1)

    def _resized(self, name: str, shape: Sequence[int], change: int) -> torch.Size:
        if len(shape) < 1 or shape[-1] + min(change, 0) < 1:
            kind = "(*batch, d)" if change > 0 else "(*batch, d + 1)"
            raise ValueError(
                f"StereographicTransform: {name} must be {kind} with d >= 1, got {tuple(shape)}"
            )
        return torch.Size((*shape[:-1], shape[-1] + change))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StereographicTransform)

    def __hash__(self) -> int:
        return hash(type(self))

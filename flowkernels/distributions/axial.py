"""What distributions around a mean direction share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from .constraints import unit_sphere
from .hyperspherical_uniform import log_area

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AxialDistribution"]


class AxialDistribution(Distribution):
    """A density on S^(p-1) that depends on the cosine with `loc` alone.

    With the mean resultant length A = E[loc.x] and its variance V, the mean is A loc and the
    covariance V loc loc' + W (I - loc loc'), V + (p - 1) W + A^2 = 1. At concentration 0
    it is the uniform distribution.
    """

    arg_constraints = {"loc": unit_sphere, "concentration": constraints.nonnegative}
    support = unit_sphere
    has_rsample = True
    loc: Tensor
    concentration: Tensor

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None
    ) -> None:
        name = type(self).__name__
        if not isinstance(loc, Tensor) or not loc.is_floating_point():
            got = loc.dtype if isinstance(loc, Tensor) else type(loc).__name__
            raise TypeError(f"{name}: loc must be a floating-point tensor, got {got}")
        if loc.ndim < 1 or loc.shape[-1] < 2:
            raise ValueError(
                f"{name}: loc must be (*batch, p) with p >= 2, got shape {tuple(loc.shape)}"
            )
        concentration = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        try:
            batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        except RuntimeError:
            raise ValueError(
                f"{name}: concentration must broadcast against the batch of loc, "
                f"{tuple(loc.shape[:-1])}, got shape {tuple(concentration.shape)}"
            ) from None
        self.loc = loc.expand((*batch_shape, loc.shape[-1]))
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand((*batch_shape, *self.event_shape))
        new.concentration = self.concentration.expand(batch_shape)
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

    @property
    def mean(self) -> Tensor:
        return self._cosine_mean().unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """`loc`; where the concentration is 0 every point is as likely."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate: the diagonal of the covariance."""
        along = self._cosine_variance().unsqueeze(-1)
        # E[1 - cosine^2] = (1 - A) (1 + A) - V, spread over p - 1 directions
        spread = self._cosine_complement() * (1 + self._cosine_mean())
        across = (spread.unsqueeze(-1) - along) / (self._dim - 1)
        return across + (along - across) * self.loc.square()

    def entropy(self) -> Tensor:
        """In nats: log of the sphere's area less the divergence from the uniform."""
        return log_area(self._dim) - self._divergence_from_uniform()

    @property
    def _dim(self) -> int:
        return self.event_shape[0]

    @abstractmethod
    def _cosine_mean(self) -> Tensor:
        """A = E[loc.x]."""

    @abstractmethod
    def _cosine_complement(self) -> Tensor:
        """1 - A."""

    @abstractmethod
    def _cosine_variance(self) -> Tensor:
        """Var[loc.x]."""

    @abstractmethod
    def _divergence_from_uniform(self) -> Tensor:
        """KL(self || uniform) >= 0."""

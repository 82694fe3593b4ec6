"""The base class of distributions around a mean direction."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.distributions import constraints

from .constraints import checked_if_known, unit_sphere
from .hyperspherical_uniform import log_area
from .located import LocatedDistribution

__all__ = ["AxialDistribution", "ConcentratedDistribution"]


class AxialDistribution(LocatedDistribution):
    """A density on S^(p-1) that depends only on the cosine with `loc`.

    With the mean resultant length A = E[loc.x] and V = Var[loc.x], the mean is A loc and the
    covariance V loc loc' + W (I - loc loc'), V + (p - 1) W + A^2 = 1. If the parameter beside
    `loc` is 0, it is the uniform distribution.
    """

    support = unit_sphere
    has_rsample = True
    least_dim = 2

    def __init__(
        self, loc: Tensor, number: Tensor | float, validate_args: bool | None = None
    ) -> None:
        super().__init__(loc, number, checked_if_known(validate_args, loc, number))

    @property
    def mean(self) -> Tensor:
        return self._cosine_mean().unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """`loc`. Of the uniform distribution every point is equally likely."""
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
        """In nats: log of the sphere's area minus the divergence from the uniform."""
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


class ConcentratedDistribution(AxialDistribution):
    """An axial distribution whose parameter beside `loc` is a concentration >= 0."""

    arg_constraints = {"loc": unit_sphere, "concentration": constraints.nonnegative}
    parameter_name = "concentration"
    concentration: Tensor

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None
    ) -> None:
        super().__init__(loc, concentration, validate_args)

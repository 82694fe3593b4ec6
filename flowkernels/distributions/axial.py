"""The base class of distributions around a mean direction."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.distributions import constraints

from .constraints import checked_if_known, unit_sphere
from .hyperspherical_uniform import log_area
from .located import LocatedDistribution

__all__ = ["AxialDistribution"]


class AxialDistribution(LocatedDistribution):
    """A density on S^(p-1) that depends only on the cosine with `loc`.

    With the mean resultant length A = E[loc.x] and V = Var[loc.x], the mean is A loc and the
    covariance V loc loc' + W (I - loc loc'), V + (p - 1) W + A^2 = 1. At concentration 0
    it is the uniform distribution.
    """

    arg_constraints = {"loc": unit_sphere, "concentration": constraints.nonnegative}
    support = unit_sphere
    has_rsample = True
    parameter_name = "concentration"
    least_dim = 2
    concentration: Tensor

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None
    ) -> None:
        validate_args = checked_if_known(validate_args, loc, concentration)
        super().__init__(loc, concentration, validate_args)

    @property
    def mean(self) -> Tensor:
        return self._cosine_mean().unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """`loc`. At concentration 0 every point is equally likely."""
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

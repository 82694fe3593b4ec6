"""The uniform distribution on the sphere S^(p-1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from .. import arguments
from .checked import CheckedDistribution
from .constraints import unit_sphere

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HypersphericalUniform", "log_area"]


class HypersphericalUniform(CheckedDistribution):
    r"""Uniform distribution on S^(p-1) = {x in R^p : |x| = 1}, p = ``dim``.

    log p(x) = log Gamma(p/2) - log 2 - (p/2) log pi, minus the logarithm of the
    sphere's surface area, which is also minus the entropy.

    Args:
        dim: p, the dimension of the surrounding space, at least 2.
        batch_shape: shape of independent copies.
        dtype, device: of the draws; torch's defaults when left out.

    Raises:
        ValueError: ``dim`` is below 2.

    Source: Mardia & Jupp, Directional Statistics (2000), 9.3.1.

    Example:
        >>> HypersphericalUniform(3).entropy().item()  # log(4 pi)
        2.5310242...
        >>> HypersphericalUniform(3).sample((4,)).shape
        torch.Size([4, 3])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = unit_sphere
    has_rsample = True

    def __init__(
        self,
        dim: int,
        batch_shape: torch.Size | tuple[int, ...] = torch.Size(),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or not 2 <= dim <= 2**31:
            raise ValueError(
                f"HypersphericalUniform: dim must be an integer >= 2 (at most 2^31), got {dim!r}"
            )
        self.dim = dim
        name = type(self).__name__
        self.dtype = arguments.floating_dtype(name, dtype)
        # Without `device`: the default device, in a form that torch.compile can trace.
        self.device = torch.empty(0, device=device).device
        super().__init__(
            arguments.shape(name, "batch_shape", batch_shape),
            torch.Size((dim,)),
            validate_args=validate_args,
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        batch_shape = arguments.shape(type(self).__name__, "batch_shape", batch_shape)
        try:
            torch.empty(()).expand(self.batch_shape).expand(batch_shape)
        except RuntimeError:
            raise ValueError(
                f"HypersphericalUniform: batch_shape must be an expansion of "
                f"{tuple(self.batch_shape)}, got {tuple(batch_shape)}"
            ) from None
        new.dim, new.dtype, new.device = self.dim, self.dtype, self.device
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

    @property
    def mean(self) -> Tensor:
        return self._full((*self.batch_shape, self.dim), 0.0)

    @property
    def mode(self) -> Tensor:
        """NaN, as for torch's Uniform: every point is equally likely."""
        return self._full((*self.batch_shape, self.dim), math.nan)

    @property
    def variance(self) -> Tensor:
        """Of each coordinate: 1 / p."""
        return self._full((*self.batch_shape, self.dim), 1 / self.dim)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws (*sample_shape, *batch, p)."""
        shape = self._extended_shape(
            arguments.shape(type(self).__name__, "sample_shape", sample_shape)
        )
        wide = torch.promote_types(self.dtype, torch.float32)
        x = torch.randn(shape, dtype=wide, device=self.device)
        return (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats at unit vectors (*, p), at least float32."""
        self._check_value(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return self._full(shape, -log_area(self.dim), promote=True)

    def entropy(self) -> Tensor:
        """In nats: the logarithm of the sphere's area."""
        return self._full(tuple(self.batch_shape), log_area(self.dim), promote=True)

    def _full(self, shape: tuple[int, ...], value: float, promote: bool = False) -> Tensor:
        dtype = torch.promote_types(self.dtype, torch.float32) if promote else self.dtype
        return torch.full(shape, value, dtype=dtype, device=self.device)


def log_area(dim: int) -> float:
    """log of the surface area 2 pi^(p/2) / Gamma(p/2) of the sphere S^(p-1), p = `dim`.

    Example:
        >>> log_area(2), math.log(2 * math.pi)
        (1.8378770664093..., 1.8378770664093...)
    """
    half = dim / 2
    return math.log(2) + half * math.log(math.pi) - math.lgamma(half)

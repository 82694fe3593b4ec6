"""The uniform distribution on the sphere S^(p-1)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from .constraints import unit_sphere

__all__ = ["HypersphericalUniform"]


class HypersphericalUniform(Distribution):
    r"""Uniform distribution on S^(p-1) = {x in R^p : |x| = 1}, p = ``dim``.

    log p(x) = log Gamma(p/2) - log 2 - (p/2) log pi, minus the logarithm of the
    sphere's surface area, which is also minus the entropy.

    Args:
        dim: p, the dimension of the surrounding space, at least 2.
        batch_shape: shape of independent copies.
        dtype, device: of the draws; torch's defaults when left out.

    Raises:
        ValueError: ``dim`` is below 2.

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
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 2:
            raise ValueError(f"HypersphericalUniform: dim must be an integer >= 2, got {dim!r}")
        self.dim = dim
        self.dtype = dtype or torch.get_default_dtype()
        self.device = torch.device(device) if device is not None else torch.get_default_device()
        super().__init__(torch.Size(batch_shape), torch.Size((dim,)), validate_args=validate_args)

    def expand(
        self, batch_shape: Any, _instance: HypersphericalUniform | None = None
    ) -> HypersphericalUniform:
        batch_shape = torch.Size(batch_shape)
        torch.broadcast_shapes(self.batch_shape, batch_shape)
        return HypersphericalUniform(
            self.dim,
            batch_shape,
            dtype=self.dtype,
            device=self.device,
            validate_args=self._validate_args,
        )

    @property
    def mean(self) -> Tensor:
        return self._zeros((*self.batch_shape, self.dim))

    @property
    def variance(self) -> Tensor:
        return self._zeros((*self.batch_shape, self.dim)) + 1 / self.dim

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        x = torch.randn(shape, dtype=self.dtype, device=self.device)
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return self._zeros(shape) - self._log_area()

    def entropy(self) -> Tensor:
        return self._zeros(tuple(self.batch_shape)) + self._log_area()

    def _log_area(self) -> float:
        half = self.dim / 2
        return math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

"""The von Mises-Fisher distribution on the sphere S^(p-1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from ..ops.reference import vmf as _ops
from .constraints import unit_sphere

__all__ = ["VonMisesFisher"]


class VonMisesFisher(Distribution):
    r"""von Mises-Fisher distribution on S^(p-1), log p(x) = log C_p(kappa) + kappa loc.x.

    Args:
        loc: mean direction, unit vectors of shape (*batch, p), p >= 2.
        concentration: kappa >= 0, broadcast against the batch; 0 is the uniform.

    Example:
        >>> base = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(10.0))
        >>> base.rsample((5,)).shape, base.log_prob(base.mode).shape
        (torch.Size([5, 3]), torch.Size([]))
    """

    arg_constraints = {"loc": unit_sphere, "concentration": constraints.nonnegative}
    support = unit_sphere
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None
    ) -> None:
        if loc.ndim < 1 or loc.shape[-1] < 2:
            raise ValueError(
                f"VonMisesFisher: loc must be (*batch, p) with p >= 2, got shape {tuple(loc.shape)}"
            )
        concentration = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand((*batch_shape, loc.shape[-1]))
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: VonMisesFisher | None = None) -> VonMisesFisher:
        new = self._get_checked_instance(VonMisesFisher, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand((*batch_shape, *self.event_shape))
        new.concentration = self.concentration.expand(batch_shape)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        return _ops.vmf_mean_resultant(self.concentration, self._dim).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return _ops.vmf_sample(self.loc, self.concentration, torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return _ops.vmf_log_prob(value, self.loc, self.concentration)

    @property
    def _dim(self) -> int:
        return self.event_shape[0]

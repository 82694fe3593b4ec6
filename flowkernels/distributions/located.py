"""The base class of distributions with a location vector and one scalar parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from .. import arguments
from .checked import CheckedDistribution, check_tensor, tensor_or_number

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LocatedDistribution"]


class LocatedDistribution(CheckedDistribution):
    """A location `loc` (*batch, p) and one scalar parameter per batch element.

    Subclasses set the parameter's name in `parameter_name` and the smallest p in `least_dim`.
    """

    parameter_name: ClassVar[str]
    least_dim: ClassVar[int] = 1
    loc: Tensor

    def __init__(
        self, loc: Tensor, number: Tensor | float, validate_args: bool | None = None
    ) -> None:
        name = type(self).__name__
        check_tensor(name, "loc", loc)
        if loc.ndim < 1 or loc.shape[-1] < self.least_dim:
            raise ValueError(
                f"{name}: loc must be (*batch, p) with p >= {self.least_dim}, got shape "
                f"{tuple(loc.shape)}"
            )
        number = tensor_or_number(name, self.parameter_name, number, loc)
        try:
            batch_shape = torch.broadcast_shapes(loc.shape[:-1], number.shape)
        except RuntimeError:
            raise ValueError(
                f"{name}: {self.parameter_name} must broadcast against the batch of loc, "
                f"{tuple(loc.shape[:-1])}, got shape {tuple(number.shape)}"
            ) from None
        self.loc = loc.expand((*batch_shape, loc.shape[-1]))
        setattr(self, self.parameter_name, number.expand(batch_shape))
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        name = type(self).__name__
        batch_shape = arguments.shape(name, "batch_shape", batch_shape)
        try:
            new.loc = self.loc.expand((*batch_shape, *self.event_shape))
        except RuntimeError:
            raise ValueError(
                f"{name}: batch_shape must be an expansion of {tuple(self.batch_shape)}, got "
                f"{tuple(batch_shape)}"
            ) from None
        setattr(new, self.parameter_name, getattr(self, self.parameter_name).expand(batch_shape))
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

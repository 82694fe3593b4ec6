"""The base class of distributions with a location vector and one scalar parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LocatedDistribution"]


class LocatedDistribution(Distribution):
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
        if not isinstance(loc, Tensor) or not loc.is_floating_point():
            got = loc.dtype if isinstance(loc, Tensor) else type(loc).__name__
            raise TypeError(f"{name}: loc must be a floating-point tensor, got {got}")
        if loc.ndim < 1 or loc.shape[-1] < self.least_dim:
            raise ValueError(
                f"{name}: loc must be (*batch, p) with p >= {self.least_dim}, got shape "
                f"{tuple(loc.shape)}"
            )
        # `new_full` fills on the device; `as_tensor` would copy from the host.
        number = (
            loc.new_full((), float(number))
            if isinstance(number, (int, float))
            else torch.as_tensor(number, dtype=loc.dtype, device=loc.device)
        )
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
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand((*batch_shape, *self.event_shape))
        setattr(new, self.parameter_name, getattr(self, self.parameter_name).expand(batch_shape))
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

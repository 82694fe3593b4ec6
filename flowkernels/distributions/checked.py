"""What the distributions ask of their tensors and values; messages name class and argument."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..ops._errors import SUPPORTED
from ..synchronization import has_values

__all__ = ["CheckedDistribution", "check_tensor", "tensor_or_number"]


def check_tensor(name: str, argument: str, value: Any) -> None:
    """Raises for what is no dense floating-point tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}: {argument} must be a floating-point tensor, got {type(value).__name__}"
        )
    if value.layout != torch.strided or value.dtype not in SUPPORTED:
        kind = value.dtype if value.layout == torch.strided else value.layout
        raise TypeError(f"{name}: {argument} must be a dense floating-point tensor, got {kind}")


def tensor_or_number(name: str, argument: str, value: Any, like: Tensor) -> Tensor:
    """A number or a tensor as a tensor of the dtype of `like`, on its device."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if torch.finfo(like.dtype).max < abs(value) < float("inf"):
            raise ValueError(f"{name}: {argument} must be a number of {like.dtype}, got {value:g}")
        # `new_full` fills on the device; `as_tensor` would copy from the host.
        return like.new_full((), float(value))
    if isinstance(value, Tensor) and (
        value.is_complex() or value.is_quantized or value.layout != torch.strided
    ):
        raise TypeError(f"{name}: {argument} must be real and dense, got {value.dtype}")
    try:
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"{name}: {argument} must be a number or a tensor, got {type(value).__name__} ({error})"
        ) from None


class CheckedDistribution(Distribution):
    """torch's Distribution, whose complaints about a value name the class."""

    def _check_value(self, value: Any) -> None:
        """What `log_prob` asks of its argument: the values only where they are validated."""
        if self._validate_args:
            self._validate_sample(value)
        else:
            self._check_kind(value)

    def _check_kind(self, value: Any) -> None:
        """Raises for a wrong type, device or shape."""
        name = type(self).__name__
        check_tensor(name, "value", value)
        own: Any = getattr(self, "loc", self)  # the uniform distribution has a device itself
        if value.device != own.device:
            raise ValueError(f"{name}: value must be on {own.device}, got {value.device}")
        try:
            if value.shape[-1:] != self.event_shape:
                raise RuntimeError
            torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except RuntimeError:
            batch = f", its batch broadcasting against {tuple(self.batch_shape)}"
            raise ValueError(
                f"{name}: value must have shape (*, {self.event_shape[0]})"
                f"{batch if self.batch_shape else ''}, got {tuple(value.shape)}"
            ) from None

    def _validate_sample(self, value: Any) -> None:
        self._check_kind(value)
        if not has_values(value):
            return
        name = type(self).__name__
        try:
            super()._validate_sample(value)
        except ValueError as error:
            if name in str(error):
                raise
            raise ValueError(f"{name}: value: {error}") from None

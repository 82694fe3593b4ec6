"""Checks of the distributions' arguments: messages name the class, the argument and what came."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..ops._errors import SUPPORTED
from ..synchronization import has_values

__all__ = ["CheckedDistribution", "check_tensor", "floating_dtype", "size", "tensor_or_number"]


def size(name: str, argument: str, value: Any) -> torch.Size:
    """A shape, from a sequence of integers >= 0.

    Example:
        >>> size("VonMisesFisher", "sample_shape", [2, 3])
        torch.Size([2, 3])
        >>> size("VonMisesFisher", "sample_shape", 5)
        Traceback (most recent call last):
        ...
        TypeError: VonMisesFisher: sample_shape must be a sequence of integers >= 0, got 5
    """
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, (list, tuple)):
        try:
            sizes = [operator.index(each) for each in value]
        except (TypeError, RuntimeError):
            sizes = [-1]
        if all(each >= 0 for each in sizes):
            return torch.Size(sizes)
    shown = repr(value) if isinstance(value, (list, tuple, str, int, float)) else type(value)
    raise TypeError(f"{name}: {argument} must be a sequence of integers >= 0, got {shown!s:.60}")


def floating_dtype(name: str, dtype: Any) -> torch.dtype:
    """A floating-point dtype, the default one for None."""
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{name}: dtype must be a floating-point torch.dtype, got {dtype!r:.60}")
    return dtype


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

"""Checks where tensors have no values, on the meta device and under torch.compile.

The kernels look at every argument themselves; these are the same rules for the fakes, the functions
that stand for the kernels there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ._errors import check_floating

__all__ = [
    "check_devices",
    "check_gradients",
    "checked",
    "named_tensors",
    "require",
    "require_choices",
    "require_positive",
    "require_precision",
    "require_shape",
]

Function = Callable[..., Any]


def require(holds: bool, message: str) -> None:
    """Raises a ValueError unless a condition holds; the op's name is put in front of it."""
    if not holds:
        raise ValueError(message)


def require_choices(given: Mapping[str, Any], choices: Mapping[str, Sequence[str]]) -> None:
    """That options with a list of values, those that are given, have one of them."""
    for option, values in choices.items():
        if option in given and given[option] not in values:
            names = ", ".join(values)
            raise ValueError(f"`{option}` must be one of {names}, got {given[option]!r}")


def require_positive(given: Mapping[str, Any], *options: str) -> None:
    """That options are finite numbers above 0."""
    for option in options:
        value = given[option]
        require(0 < value < math.inf, f"`{option}` must be a finite number > 0, got {value:g}")


def require_shape(argument: str, tensor: Tensor, wanted: Sequence[int], of: str) -> None:
    """That a tensor has exactly the shape of another argument, or of what `of` says."""
    require(
        tensor.shape == tuple(wanted),
        f"`{argument}` must have the shape of {of} {tuple(wanted)}, got {tuple(tensor.shape)}",
    )


def require_precision(argument: str, tensor: Tensor, like: Tensor, other: str) -> None:
    """That two tensors are both float64, or both of at most float32."""
    if (tensor.dtype == torch.float64) != (like.dtype == torch.float64):
        raise TypeError(
            f"`{argument}` must have the dtype of `{other}` ({like.dtype}) or both be of at most "
            f"float32, got {tensor.dtype}"
        )


def check_devices(name: str, tensors: Sequence[tuple[str, Tensor]], numbers: Sequence[str]) -> None:
    """That all are on the first one's device; `numbers` may be 0-d tensors on the CPU."""
    first, main = tensors[0]
    for argument, tensor in tensors[1:]:
        by_value = argument in numbers and tensor.ndim == 0 and tensor.is_cpu
        if tensor.device != main.device and not by_value:
            raise ValueError(
                f"{name}: `{argument}` must be on the device of `{first}` ({main.device}), got "
                f"{tensor.device}"
            )


def named_tensors(arguments: Sequence[str], args: Sequence[Any]) -> list[tuple[str, Tensor]]:
    """The tensors of a call, with their names in the schema."""
    return [(n, a) for n, a in zip(arguments, args, strict=False) if isinstance(a, Tensor)]


def checked(
    name: str, fake: Function, arguments: Sequence[str], numbers: Sequence[str]
) -> Function:
    """`fake`, refusing what the kernels of op `name` could not read.

    Args:
        name: of the op.
        fake: empty results; raises for shapes that do not fit.
        arguments: their names, in the order of the schema.
        numbers: those that may be 0-d tensors on the CPU beside a GPU's.
    """

    def checked_fake(*args: Any) -> Any:
        tensors = named_tensors(arguments, args)
        for argument, tensor in tensors:
            if argument != "seed":
                check_floating(name, argument, tensor)
            elif tensor.dtype != torch.int64:
                raise TypeError(f"{name}: `seed` must be int64, got {tensor.dtype}")
        check_devices(name, tensors, numbers)
        try:
            return fake(*args)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name}: {error}") from None
        except (RuntimeError, IndexError) as error:
            # torch's own errors, about symbolic sizes for example, are of classes of their own.
            if type(error) not in (RuntimeError, IndexError):
                raise
            shapes = ", ".join(f"`{n}` {tuple(t.shape)}" for n, t in tensors)
            raise ValueError(f"{name}: the shapes do not fit: {shapes} ({error})") from None

    return checked_fake


def check_gradients(name: str, arguments: Sequence[str], grads: Sequence[Any], like: Any) -> None:
    """That gradients have the device, dtype and shape of the outputs of op `name`."""
    outputs = like if isinstance(like, tuple) else (like,)
    for argument, grad, output in zip(arguments, grads, outputs, strict=False):
        if not isinstance(grad, Tensor):
            raise TypeError(f"{name}_backward: `{argument}` must be a tensor, got {grad!r:.60}")
        for error, what, got, wanted in (
            (ValueError, "be on the device", grad.device, output.device),
            (TypeError, "have the dtype", grad.dtype, output.dtype),
            (ValueError, "have the shape", tuple(grad.shape), tuple(output.shape)),
        ):
            if got != wanted:
                raise error(
                    f"{name}_backward: `{argument}` must {what} of the op's output "
                    f"({wanted}), got {got}"
                )

"""Errors of an op's arguments, from what the direct entries and torch's dispatcher raise."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, TypeGuard

import torch
from torch import Tensor

REPHRASED = (TypeError, ValueError, NotImplementedError, RuntimeError, IndexError)
_INTEGER = ((Integral, torch.SymInt), "an integer")
_KINDS = {
    "float": ((Real, torch.SymFloat), "a number"),
    "int": _INTEGER,
    "SymInt": _INTEGER,
    "bool": (bool, "True or False"),
    "str": (str, "a string"),
}


def clear_error(
    error: Exception,
    name: str,
    public: str,
    args: tuple[Any, ...],
    numbers: tuple[str, ...],
    renamed: dict[str, str],
) -> Exception | None:
    """An error that names the public op and the argument; None where `error` is clear.

    Args:
        error: what a call of the dispatcher's op `name` raised.
        name: of that op.
        public: what the caller called.
        args: of the call, in the order of the schema.
        numbers: arguments that may be numbers instead of tensors.
        renamed: arguments that the public op has under another name.
    """
    try:
        check_types(name, public, args, numbers, renamed)
    except TypeError as clear:
        return clear
    # Of the dispatcher's op itself, or of one that it consists of.
    prefix, separator, rest = str(error).partition(": ")
    if separator and prefix.isidentifier() and hasattr(torch.ops.flowkernels, prefix):
        for of_op, of_public in renamed.items():
            rest = rest.replace(f"`{of_op}`", f"`{of_public}`")
        return type(error)(f"{public}: {rest}") if prefix != public else None
    return None


def check_types(
    name: str, public: str, args: tuple[Any, ...], numbers: tuple[str, ...], renamed: dict[str, str]
) -> None:
    """Raises a TypeError for an argument that the schema of op `name` has no room for."""
    schema = getattr(torch.ops.flowkernels, name).default._schema.arguments
    for argument, value in zip(schema, args, strict=False):
        shown = renamed.get(argument.name, argument.name)
        for wrong in _wrong(shown, str(argument.type), value, argument.name in numbers):
            raise TypeError(f"{public}: {wrong}")


SUPPORTED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_floating(op: str, argument: str, value: object) -> None:
    """Raises a TypeError for what is no dense tensor of one of the four floating dtypes."""
    for wrong in _no_dense_tensor(f"`{argument}`", value):
        raise TypeError(f"{op}: {wrong}")
    if isinstance(value, Tensor) and value.dtype not in SUPPORTED:
        raise TypeError(
            f"{op}: `{argument}` must be float16, bfloat16, float32 or float64, got {value.dtype}"
        )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number of Python or NumPy; True and False are none."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Real)


def flag(op: str, argument: str, value: object) -> bool:
    """A bool as it is; anything else, which might be true by chance, is refused."""
    if not isinstance(value, bool):
        raise TypeError(f"{op}: `{argument}` must be True or False, got {_shown(value)}")
    return value


def _wrong(name: str, kind: str, value: Any, may_be_number: bool) -> Iterator[str]:
    """What is wrong with an argument's type."""
    if kind == "Tensor":
        if may_be_number and isinstance(value, Real):
            return
        yield from _no_dense_tensor(f"`{name}`", value)
    elif kind == "List[Tensor]":
        if isinstance(value, Tensor) or not isinstance(value, (list, tuple)):
            yield f"`{name}` must be a sequence of torch.Tensors, got {type(value).__name__}"
            return
        for i, each in enumerate(value):
            yield from _no_dense_tensor(f"`{name}[{i}]`", each)
    elif kind in _KINDS:
        types, wanted = _KINDS[kind]
        plain_bool = isinstance(value, bool) and kind != "bool"
        if plain_bool or not isinstance(value, types):  # type: ignore[arg-type]
            yield f"`{name}` must be {wanted}, got {_shown(value)}"
        elif kind in ("int", "SymInt") and isinstance(value, int) and value.bit_length() > 63:
            yield f"`{name}` must be an integer of 64 bits, got one of {value.bit_length()}"


def _no_dense_tensor(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Tensor):
        yield f"{name} must be a torch.Tensor, got {type(value).__name__}"
    elif value.is_quantized:
        yield f"{name} must be a dense tensor, got a quantized one"
    elif value.layout != torch.strided:
        yield f"{name} must be a dense tensor, got layout {value.layout}"


def _shown(value: Any) -> str:
    """A value, where it is short and says more than its type."""
    if isinstance(value, (str, bool, int, float)) and len(repr(value)) < 40:
        return repr(value)
    return type(value).__name__

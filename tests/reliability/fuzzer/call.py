"""A call: what is called with what, and whether it must work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Call:
    """A call.

    target     as a user would write it, which messages must name
    arguments  by name, in order
    legal      whether it must work; if not, it must either work or raise a clear error
    accurate   whether its results are compared with the oracle's
    changes    what makes it different from a plain call
    reference  the oracle, of the same arguments in float64
    odd_row    the entry of the batch that holds special values, if any
    rows       entries of that batch
    """

    target: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    legal: bool = True
    accurate: bool = True
    changes: list[str] = field(default_factory=list)
    reference: Callable[..., Any] | None = None
    plain: dict[str, Any] = field(default_factory=dict)  # the arguments without special values
    odd_row: int | None = None
    rows: int = 0
    terms: float = 0.0  # of outputs that are sums, or of unit length: the size of what is rounded
    positional: int = 0
    raw: bool = False  # of the dispatcher's op
    also: tuple[str, ...] = ()  # public ops in whose words messages may be
    named: tuple[str, ...] = ()  # what a message may name besides the arguments

    def run(self) -> Any:
        """Calls it."""
        values = list(self.arguments.items())
        first = [value for _, value in values[: self.positional]]
        return self.function(*first, **dict(values[self.positional :]))

    def describe(self) -> str:
        """The call in a line."""
        shown = ", ".join(f"{name}={brief(value)}" for name, value in self.arguments.items())
        return f"{self.target}({shown})" + (f" [{'; '.join(self.changes)}]" if self.changes else "")


def brief(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        text = f"{dtype}{list(value.shape)}"
        if value.layout == torch.strided and value.device.type == "cpu":
            if value.numel() == 1 and not value.is_quantized:
                text += f"={value.item()!r}"
            elif value.ndim and not value.is_contiguous():
                text += f" strides {list(value.stride())}"
        else:
            text += f" {value.layout} {value.device}"
        return text + ("*" if value.requires_grad else "")
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        return "[" + ", ".join(brief(v) for v in value) + "]"
    text = repr(value)
    return text if len(text) < 60 else f"{text[:50]}..."


def tensors_of(arguments: dict[str, Any]) -> Iterator[tuple[str, int | None, Tensor]]:
    """The tensors among arguments: name, place in a list or None, tensor."""
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            yield name, None, value
        elif isinstance(value, (list, tuple)):
            for i, each in enumerate(value):
                if isinstance(each, Tensor):
                    yield name, i, each


def replaced(arguments: dict[str, Any], name: str, place: int | None, value: Any) -> dict[str, Any]:
    """The arguments with another value at one place."""
    out = dict(arguments)
    if place is None:
        out[name] = value
    else:
        items = list(out[name])
        items[place] = value
        out[name] = items
    return out


def mapped(arguments: dict[str, Any], f: Callable[[Tensor], Any]) -> dict[str, Any]:
    """The arguments with f of every tensor."""
    out = dict(arguments)
    for name, place, tensor in list(tensors_of(arguments)):
        out = replaced(out, name, place, f(tensor))
    return out

"""Numbers that change between the calls of a compiled function.

From the second value on, torch.compile makes a number an input of the graph: its value is a symbol
while the op is traced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from flowkernels.ops._declaration import PUBLIC

# Of these arguments; 1 is apart, because torch.compile never makes a symbol of it.
VALUES: dict[str, tuple[Any, ...]] = {
    "bound": (2.0, 3.0, 1.5, 2.5),
    "gain": (2.0, 3.0, 1.5, 2.5),
    "negative_slope": (0.25, 0.5, 0.75, 1.0),
    "v": (2.0, 3.0, 1.5, 2.5),
    "x": (2.0, 3.0, 0.25, 1.0),
    "t": (0.25, 0.5, 0.75, 1.0),
    "kappa": (2.0, 3.0, 0.25, 1.0),
    "r": (0.25, 0.5, 0.75, 0.125),
    "concentration": (2.0, 3.0, 0.25, 1.0),
    "dim": (3, 4, 7, 2),
    "coupled": (2, 3, 4, 1),
    "event_ndim": (1, 2, 0, 1),
    "min_width": (1e-3, 1e-2, 0.0, 2e-3),
    "min_height": (1e-3, 1e-2, 0.0, 2e-3),
    "min_derivative": (1e-3, 1e-2, 0.5, 2e-3),
    "scale": (2.0, 3.0, 0.25, 1.0),
}
# `dim` of ops on channels: the declared inputs have theirs along dim 1, of two.
CHANNELS = (-1, 1, -1, 1)
# Numbers that go with the shape of a tensor.
OF_A_SHAPE = {"bins"}


def _trials() -> Iterator[Any]:
    for op in PUBLIC.values():
        if op.name == "rational_quadratic_spline_split":
            continue  # the dispatcher's op and its numbers are those of the op before it
        for name, parameter in inspect.signature(op.function).parameters.items():
            kind = str(parameter.annotation).strip("'")
            if "float" in kind or kind == "int":
                if op.random:
                    continue  # each call draws anew; the density has the same argument
                if name in OF_A_SHAPE:
                    continue
                yield pytest.param(op.name, name, id=f"{op.name}-{name}")


@pytest.mark.parametrize("dynamic", [None, True], ids=["default", "dynamic"])
@pytest.mark.parametrize(("op", "name"), list(_trials()))
def test_a_number_changes(op: str, name: str, dynamic: bool | None) -> None:
    declared = PUBLIC[op]
    size = (3, 6)
    names = [*inspect.signature(declared.function).parameters]
    given: list[Any] = [
        *declared.inputs.before,
        *declared.inputs.arguments(declared.inputs.tensors(size)),
    ]
    arguments = dict(zip(names, given, strict=False)) | declared.inputs.options(size)
    arguments.pop(name, None)
    torch._dynamo.reset()

    def call(number: Any, arguments: dict[str, Any]) -> Any:
        out = declared.function(**arguments, **{name: number})
        return out if isinstance(out, tuple) else (out,)

    compiled: Callable[..., Any] = torch.compile(
        call, fullgraph=True, dynamic=dynamic, backend="aot_eager"
    )
    for value in CHANNELS if name == "dim" and "reduction" in names else VALUES[name]:
        for got, want in zip(compiled(value, arguments), call(value, arguments), strict=True):
            torch.testing.assert_close(got, want)

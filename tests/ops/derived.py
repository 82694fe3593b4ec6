"""Cases made of an op's declaration alone: shapes, every value of its options, what must raise."""

from __future__ import annotations

import inspect
import itertools
import typing
from collections.abc import Iterator
from typing import Any, Literal

import torch

from flowkernels.ops import reference
from flowkernels.ops._declaration import PublicOp

from .case import Bad, Case, Sample

SHAPES = {
    "rows": [(1, 1), (7, 3), (65, 6), (3, 33), (2, 131), (3, 1029), (5,), (2, 3, 5)],
    "images": [(1, 1), (7, 3), (65, 6), (2, 131), (3, 1029), (2, 3, 5, 7), (5, 2, 33)],
    "elements": [(), (1,), (7,), (3, 5, 2), (1031,)],
    "matrices": [(1, 1), (3, 4), (2, 40)],
}
EVERY_VALUE = {"rows": (3, 5), "images": (3, 5, 3), "elements": (40,), "matrices": (3, 4)}
SMALL = {"rows": [(2, 3), (2, 2, 2)], "images": [(2, 3), (2, 2, 2)], "elements": [(3,), (2, 2)],
         "matrices": [(2, 3)]}  # fmt: skip
EMPTY = {"rows": [(0, 3), (2, 0, 3)],
         "images": [(0, 3), (0, 2, 4, 4), (2, 2, 0, 3, 2), (2, 2, 3, 2, 0)],
         "elements": [(0,), (0, 3), (3, 0)], "matrices": [(0, 3), (2, 0, 3)]}  # fmt: skip


def options_of(op: PublicOp) -> dict[str, tuple[Any, ...]]:
    """The values of the options that have a list of them."""
    hints = typing.get_type_hints(op.function)
    found = {}
    for name, parameter in inspect.signature(op.function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if typing.get_origin(hints[name]) is Literal:
            found[name] = typing.get_args(hints[name])
        elif hints[name] is bool:
            found[name] = (False, True)
    return found


def _sample(op: PublicOp, size: tuple[int, ...], **options: Any) -> Sample:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(size))
        tensors = op.inputs.tensors(size)
    label = ", ".join(f"{k}={v}" for k, v in {"shape": size, **options}.items())
    return Sample(label, tensors, {**op.inputs.options(size), **options})


def _bad(op: PublicOp) -> Iterator[Bad]:
    """No tensor, integers, another device, an unknown value: each is named."""
    kind = op.inputs.sizes
    sample = _sample(op, SMALL[kind][0])
    names = list(inspect.signature(op.function).parameters)[len(op.inputs.before) :]

    def bad(label: str, error: type[Exception], name: str, position: int, value: Any) -> Bad:
        tensors = list(sample.tensors)
        tensors[position] = value
        return Bad(
            label, lambda: op.inputs.call(op.function, (), tuple(tensors)), error,
            (op.name, f"`{name}`"),
        )  # fmt: skip

    for i, (name, tensor) in enumerate(zip(names, sample.tensors, strict=False)):
        yield bad("no tensor", TypeError, name, i, "text")
        yield bad("integers", TypeError, name, i, tensor.to(torch.int64))
        if i:
            yield bad("another device", ValueError, name, i, tensor.to("meta"))
    for option in options_of(op):
        if option in typing.get_type_hints(op.function) and options_of(op)[option][0] is not False:
            yield Bad(
                option, lambda o=option: op.function(*sample.tensors, **{o: "other"}),  # type: ignore[misc]
                ValueError, (op.name, f"`{option}`", "other", str(options_of(op)[option][0])),
            )  # fmt: skip


def case_of(op: PublicOp) -> Case:
    """The case of an op that has none of its own beside this file."""
    kind = op.inputs.sizes
    choices = options_of(op)
    combinations = [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]
    plain = getattr(reference, op.name)

    def call(*tensors: Any, **options: Any) -> Any:
        return op.function(*op.inputs.before, *op.inputs.arguments(tensors), **options)

    def definition(*tensors: Any, **options: Any) -> Any:
        return plain(*op.inputs.before, *op.inputs.arguments(tensors), **options)

    return Case(
        op=op.served_by[0],
        name=op.name,
        call=call,
        reference=definition,
        samples=lambda: [
            *(_sample(op, size) for size in SHAPES[kind]),
            *(_sample(op, EVERY_VALUE[kind], **o) for o in combinations if o),
        ],
        small=lambda: [_sample(op, size, **combinations[-i]) for i, size in enumerate(SMALL[kind])],
        empty=lambda: [_sample(op, size) for size in EMPTY[kind]],
        bad=lambda: list(_bad(op)),
        bijection=op.bijection,
    )

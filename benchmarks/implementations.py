"""The implementations that a row compares, as calls without arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from . import plain, scipy_formulas
from .interleaved import Call
from .registry import Function, Inputs, Row


def as_tuple(out: Any) -> tuple[Tensor, ...]:
    """The outputs of an op as a tuple."""
    return out if isinstance(out, tuple) else (out,)


def forward(function: Function, tensors: Inputs) -> Call:
    """A call without gradients."""
    return lambda: function(*tensors)


def forward_backward(function: Function, tensors: Inputs) -> Call:
    """A call and the gradients of every tensor argument, from one cotangent per output."""
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        shapes = [(o.shape, o.dtype) for o in as_tuple(function(*leaves))]
    # Drawn in float64, so that every dtype gets the same values.
    cotangents = [
        torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)
        for shape, dtype in shapes
    ]

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(as_tuple(function(*leaves)), leaves, cotangents)

    return call


MAKERS: dict[str, Callable[[Function, Inputs], Call]] = {
    "forward": forward,
    "forward+backward": forward_backward,
}


def compiled(function: Function) -> Function:
    """`function` under torch.compile with static shapes."""
    out: Function = torch.compile(lambda *tensors: function(*tensors), dynamic=False)
    return out


def ours(row: Row, tensors: Inputs) -> Call:
    """Our op."""
    return MAKERS[row.direction](row.function(ops), tensors)


def formulas(row: Row) -> dict[str, Function]:
    """The reference and the formulas that users would write."""
    functions = {"reference": row.function(reference), "plain": row.function(plain)}
    if hasattr(scipy_formulas, row.subject.op):
        functions["scipy"] = row.function(scipy_formulas)
    return functions


def peers(row: Row, tensors: Inputs, *, full: bool) -> dict[str, Call]:
    """Reference and hand-written formulas, eager and compiled; `full` compiles both."""
    functions = formulas(row)
    to_compile = ["plain", *(["reference"] if full and row.subject.reference_compiles else [])]
    torch._dynamo.reset()
    variants = {f"{name}, eager": f for name, f in functions.items()}
    variants |= {f"{name}, compiled": compiled(functions[name]) for name in to_compile}
    return {name: MAKERS[row.direction](f, tensors) for name, f in variants.items()}

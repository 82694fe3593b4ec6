"""The implementations that a row compares, as calls without arguments."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference
from flowkernels.ops._declaration import PUBLIC

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


def definition(row: Row) -> Function:
    """The op in plain torch: its definition, or for elementwise functions its formula.

    The definitions of those are power series, for few elements and small arguments.
    """
    if not row.subject.elementwise:
        return row.function(reference)
    family = PUBLIC[row.subject.op].family
    names = (f"flowkernels.ops.composite.{name}" for name in (family, "log_iv"))
    found = (importlib.import_module(name) for name in names)
    return row.function(next(module for module in found if hasattr(module, row.subject.op)))


def formulas(row: Row) -> dict[str, Function]:
    """The definition and what users would write in its place."""
    functions = {"reference": definition(row)}
    if hasattr(plain, row.subject.op):
        functions["plain"] = row.function(plain)
    if hasattr(scipy_formulas, row.subject.op):
        functions["scipy"] = row.function(scipy_formulas)
    return functions


def peers(row: Row, tensors: Inputs, *, full: bool) -> dict[str, Call]:
    """Reference and hand-written formulas, eager and compiled; `full` compiles both."""
    functions = formulas(row)
    to_compile = ["plain"] if "plain" in functions else []
    if (full or not to_compile) and row.subject.reference_compiles:
        to_compile.append("reference")
    torch._dynamo.reset()
    variants = {f"{name}, eager": f for name, f in functions.items()}
    variants |= {f"{name}, compiled": compiled(functions[name]) for name in to_compile}
    return {name: MAKERS[row.direction](f, tensors) for name, f in variants.items()}

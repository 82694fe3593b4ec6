"""A row as calls that can be timed, and the check of their results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference
from tests.ops.case import ULPS

from .. import plain
from ..registry import Inputs, Row
from .rows import BACKWARD, FORWARD
from .timing import Call

Function = Callable[..., Any]
OURS = ("cuda", "triton")
# Rows checked: enough to detect an error, few enough for float64 in plain torch.
SAMPLE = 64
SAMPLE_ELEMENTS = 4096
# A gradient is a sum of several terms, so its tolerance is larger.
GRADIENT_FACTOR = 4.0
# Ops whose results are random and cannot be compared.
RANDOM = ("vmf_sample",)


def as_tuple(out: Any) -> tuple[Tensor, ...]:
    """The outputs of a call as a tuple."""
    return out if isinstance(out, tuple) else (out,)


def bytes_of(tensors: Sequence[Tensor]) -> int:
    """The bytes of the elements of the tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


def function_of(row: Row, implementation: str, device: str) -> Function:
    """The function that an implementation calls in a row."""
    with torch.device(device):
        options = row.subject.options(row.size)
    module = ops if implementation in OURS else plain
    call = functools.partial(getattr(module, row.subject.op), *row.subject.before, **options)
    if implementation != "compiled":
        return call
    torch._dynamo.reset()
    compiled: Function = torch.compile(lambda *tensors: call(*tensors), dynamic=False)
    return compiled


@dataclass
class Calls:
    """Calls with separate inputs, and the least number of bytes that one must move."""

    calls: list[Call]
    moved: int


def calls_of(row: Row, function: Function, inputs: list[Inputs]) -> Calls:
    """The row's direction as calls without arguments."""
    outputs = as_tuple(function(*inputs[0]))
    moved = bytes_of(inputs[0]) + bytes_of(outputs)
    if row.direction == FORWARD:
        return Calls([functools.partial(function, *tensors) for tensors in inputs], moved)
    cotangents = [torch.randn_like(o) for o in outputs]
    leaves = [tuple(t.detach().requires_grad_() for t in tensors) for tensors in inputs]
    backward = bytes_of(cotangents) + 2 * bytes_of(inputs[0])
    if row.direction == BACKWARD:
        graphs = [as_tuple(function(*each)) for each in leaves]
        gradient = functools.partial(torch.autograd.grad, grad_outputs=cotangents)
        return Calls(
            [
                functools.partial(gradient, out, each, retain_graph=True)
                for out, each in zip(graphs, leaves, strict=True)
            ],
            backward,
        )

    def both(each: Inputs) -> object:
        return torch.autograd.grad(as_tuple(function(*each)), each, cotangents)

    return Calls([functools.partial(both, each) for each in leaves], moved + backward)


def _first(t: Tensor, batch: int, count: int) -> Tensor:
    return t[:count] if t.ndim and t.shape[0] == batch else t


def _error(got: Tensor, want: Tensor, dtype: torch.dtype, factor: float) -> str | None:
    if not want.numel():
        return None
    if not got.isfinite().all():
        return "not finite"
    allowed = factor * ULPS[dtype] * torch.finfo(dtype).eps * max(want.abs().max().item(), 1e-30)
    error = (got.double() - want).abs().max().item()
    return None if error <= allowed else f"error {error:.3g}, allowed {allowed:.3g}"


def problem(row: Row, function: Function, inputs: Inputs, device: str) -> str | None:
    """What is wrong with the first rows of a call, compared with the reference in float64, or None.

    Rows are independent; sums over rows and gradients of arguments that rows share are not checked.
    """
    if row.subject.op in RANDOM:
        return None
    batch = row.size[0]
    count = min(batch, SAMPLE if len(row.size) > 1 else SAMPLE_ELEMENTS)
    leaves = tuple(t.detach().requires_grad_() for t in inputs)
    outputs = as_tuple(function(*leaves))
    exact = tuple(_first(t, batch, count).detach().double().requires_grad_() for t in inputs)
    with torch.device(device):
        options = {
            k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v
            for k, v in row.subject.options(row.size).items()
        }
    definition = getattr(reference, row.subject.op)
    wants = as_tuple(definition(*row.subject.before, *exact, **options))
    dtype = inputs[0].dtype
    for i, (got, want) in enumerate(zip(outputs, wants, strict=True)):
        if got.shape[:1] != (batch,):
            continue
        # Outputs of at least float32 have float32 accuracy only if their inputs do.
        if found := _error(_first(got, batch, count).detach(), want.detach(), dtype, 1.0):
            return f"output {i}: {found}"
    if row.direction == FORWARD:
        return None
    ones = [torch.ones_like(o) for o in outputs]
    grads = torch.autograd.grad(outputs, leaves, ones)
    want_grads = torch.autograd.grad(wants, exact, [torch.ones_like(w) for w in wants])
    for i, (got, want, leaf) in enumerate(zip(grads, want_grads, leaves, strict=True)):
        if leaf.ndim and leaf.shape[0] == batch:
            found = _error(_first(got, batch, count), want, dtype, GRADIENT_FACTOR)
            if found:
                return f"gradient {i}: {found}"
    return None

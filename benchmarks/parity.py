"""Compares an op with its reference before it is timed."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels import ops
from tests.ops.case import ULPS
from tests.ops.cases import CASES

from .implementations import MAKERS, as_tuple, definition
from .registry import Inputs, Row

# Gradients come from two kernels and, for shared arguments, a sum over the batch.
GRADIENT_FACTOR = 4.0


class ParityError(AssertionError):
    """The op and its reference differ."""


def _allowed_ulps(row: Row, dtype: torch.dtype) -> float:
    """The tolerance of the op in the test suite."""
    call = getattr(ops, row.subject.op)
    own = [case.ulps for case in CASES if case.call is call]
    return next((u[dtype] for u in own if dtype in u), ULPS[dtype])


def _rounds_inside(row: Row) -> bool:
    """Whether results of higher precision than the tensors have no more than their accuracy."""
    return any(case.rounds_inside for case in CASES if case.name == row.subject.op)


def _compare(label: str, got: Tensor, want: Tensor, ulps: float, dtype: torch.dtype) -> None:
    if got.shape != want.shape:
        raise ParityError(f"{label}: shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    scale = max(want.abs().max().item(), torch.finfo(got.dtype).tiny)
    error = (got.double() - want).abs().max().item()
    allowed = ulps * torch.finfo(dtype).eps * scale
    if not error <= allowed:  # NaN fails too
        raise ParityError(f"{label}: error {error:.3g}, allowed {allowed:.3g}")


def check(row: Row, tensors: Inputs) -> None:
    """Raise ParityError unless the op agrees with its reference in float64."""
    make = MAKERS[row.direction]
    exact = tuple(t.double() for t in tensors)
    got = as_tuple(make(row.function(ops), tensors)())
    want = as_tuple(make(definition(row), exact)())
    factor = 1.0 if row.direction == "forward" else GRADIENT_FACTOR
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        dtype = tensors[0].dtype if _rounds_inside(row) else a.dtype
        _compare(f"{row.label}, result {i}", a, b, factor * _allowed_ulps(row, dtype), dtype)

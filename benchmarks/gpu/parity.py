"""Compares a call of an op with its reference in float64, on any device, with the tests' bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.ops.case import Case, Sample, cotangents


def _near(case: Case, got: Tensor, want: Tensor, factor: float, dtype: torch.dtype) -> str | None:
    if got.shape != want.shape:
        return f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    if not want.numel():
        return None
    scale = max(want.abs().max().item(), torch.finfo(got.dtype).tiny)
    error = (got.double() - want).abs().max().item()
    allowed = factor * case.tolerance(dtype) * scale
    return None if error <= allowed else f"error {error:.3g}, allowed {allowed:.3g}"


def problem(case: Case, sample: Sample) -> str | None:
    """What is wrong with the values or gradients of one call, or None."""
    leaves, exact = sample.leaves(), sample.to(torch.float64).leaves()
    got, want = case.outputs(case.call, leaves), case.outputs(case.reference, exact)
    given = cotangents(got)
    got_grads = torch.autograd.grad(got, leaves.tensors, given)
    want_grads = torch.autograd.grad(want, exact.tensors, tuple(g.double() for g in given))
    for what, ours, theirs, factor in (
        ("output", got, want, 1.0),
        ("gradient", got_grads, want_grads, 4.0),
    ):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            # Results of higher precision than the tensors may have no more than their accuracy.
            dtype = sample.tensors[0].dtype if case.rounds_inside else a.dtype
            if found := _near(case, a.detach(), b.detach(), factor, dtype):
                return f"{what} {i}: {found}"
    return None

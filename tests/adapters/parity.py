"""That an accelerated module computes what the plain one does, and that it really runs here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import adapters

# Of values and gradients. The libraries' spline inverses divide by differences of derivatives, so
# that their own rounding is larger than ours.
TOLERANCES = {torch.float32: 2e-4, torch.float64: 1e-9}
SPLINES = {torch.float32: 2e-3, torch.float64: 1e-6}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])

# Tensors of a module's results for given inputs.
Run = Callable[[Any, Sequence[Tensor]], list[Tensor]]


def moved(module: nn.Module, scale: float = 0.1) -> nn.Module:
    """The module away from its initial values, where zeros would hide differences."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn_like(parameter)
    return module


def gradients(module: nn.Module, run: Run, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The results, and the gradients of a function of them by the inputs and parameters."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    module.zero_grad()
    results = run(module, leaves)
    sum((result.double().sin() * 1.3).sum() for result in results).backward()
    own = [p.grad if p.grad is not None else torch.zeros_like(p) for p in module.parameters()]
    return [*results, *(x.grad for x in leaves if x.grad is not None), *own]


def check(
    module: nn.Module,
    inputs: Sequence[Tensor],
    runs: Sequence[Run],
    dtype: torch.dtype,
    tolerances: dict[torch.dtype, float] = TOLERANCES,
    left: int = 0,
) -> nn.Module:
    """Compares every run, with gradients; returns the accelerated module.

    `left` is how many calls the library must compute; all others must be ours.
    """
    plain = moved(module.to(dtype))
    ours = adapters.accelerate(copy.deepcopy(plain))
    inputs = [x.to(dtype) for x in inputs]
    tolerance = tolerances[dtype]
    for run in runs:
        adapters.report().reset()
        got = gradients(ours, run, inputs)
        report = adapters.report()
        expected = gradients(plain, run, inputs)
        assert report.served > 0, "nothing ran here"
        assert report.left == left, report
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            # Relative to the largest element: a sum of large terms that cancel is no more exact.
            largest = max(1.0, b.detach().abs().max().item())
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * largest)
    return ours

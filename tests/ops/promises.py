"""What the tests of promises share: samples, comparisons, gradients, transforms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .case import ALL_DTYPES, Case, Sample, Trial, cotangents
from .cases import CASES


def each(kind: str, chosen: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    """A test for every sample of a kind: `samples`, `small` or `empty`."""
    trials = [Trial(c, s) for c in CASES if chosen(c) for s in getattr(c, kind)()]
    return pytest.mark.parametrize("trial", trials, ids=str)


each_sample, each_small, each_empty = each("samples"), each("small"), each("empty")
each_dtype = pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: str(d).split(".")[1])


def assert_near(
    case: Case,
    got: Tensor,
    want: Tensor,
    what: str,
    factor: float = 1.0,
    dtype: torch.dtype | None = None,
) -> None:
    """`got` equals the float64 `want` within ulps of its own dtype, or of another."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, want {tuple(want.shape)}"
    if not want.numel():
        return
    got64, want64 = got.detach().double(), want.detach().double()
    finite = want64.isfinite()
    assert torch.equal(got64[~finite].nan_to_num(7e77), want64[~finite].nan_to_num(7e77)), what
    scale = want64[finite].abs().max().item() if finite.any() else 1.0
    allowed = factor * case.tolerance(dtype or got.dtype) * max(scale, torch.finfo(got.dtype).tiny)
    error = (got64 - want64)[finite].abs().max().item() if finite.any() else 0.0
    assert error <= allowed, f"{what}: error {error:.3g}, allowed {allowed:.3g}"


def assert_memory(case: Case, output: Tensor, sample: Sample) -> None:
    """An output is contiguous memory of its own, or a view of the first tensor."""
    place = output.untyped_storage().data_ptr()
    shared = [t.untyped_storage().data_ptr() == place for t in sample.tensors]
    assert shared[0] == case.views and not any(shared[1:]), sample.label
    assert case.views or output.is_contiguous(), sample.label


def gradients(case: Case, function: Any, sample: Sample) -> tuple[Tensor, ...]:
    leaves = sample.leaves()
    outputs = case.outputs(function, leaves)
    return torch.autograd.grad(outputs, leaves.tensors, cotangents(outputs))


def derivatives(case: Case, function: Any, sample: Sample) -> list[tuple[Tensor, ...]]:
    """Gradients, and those of the gradients, where there are any."""
    leaves = sample.leaves()
    outputs = case.outputs(function, leaves)
    first = torch.autograd.grad(outputs, leaves.tensors, cotangents(outputs), create_graph=True)
    again = [g for g in first if g.requires_grad]
    second = torch.autograd.grad(
        again, leaves.tensors, cotangents(tuple(again)), materialize_grads=True
    ) if again else ()  # fmt: skip
    return [tuple(g.detach() for g in first), second]


def wide(sample: Sample) -> Sample:
    return sample.to(torch.float64)


class Recorder(TorchDispatchMode):
    """Notes the calls of our ops that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Records, then runs."""
        if func.namespace == "flowkernels":
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def _seen(case: Case, sample: Sample) -> set[tuple[str, str]]:
    """What the dispatcher sees of a sample: dimensions of tensors, values of options."""
    if case.arguments is not None:
        args: tuple[Any, ...] = case.arguments(sample)
    else:
        with Recorder() as recorder:
            case.outputs(case.call, sample)
        args = next(a for f, a in recorder.calls if f.name() == f"flowkernels::{case.op}")
    names = [a.name for a in getattr(torch.ops.flowkernels, case.op).default._schema.arguments]
    facts = [f"{a.ndim} dimensions" if isinstance(a, Tensor) else str(a) for a in args]
    return set(zip(names, facts, strict=False))


@functools.cache
def covering(op: str) -> set[tuple[str, str]]:
    """Cases and labels of small samples that show the dispatcher's op all that any of them does."""
    trials = [(str(c), s.label, _seen(c, s)) for c in CASES if c.op == op for s in c.small()]
    missing = set().union(*(seen for _, _, seen in trials))
    chosen = set()
    while missing:
        case, label, seen = max(trials, key=lambda trial: len(trial[2] & missing))
        missing -= seen
        chosen.add((case, label))
    return chosen


def transformed(function: Any, sample: Sample) -> dict[str, Any]:
    """What each transform of torch.func makes of a call."""
    everything = tuple(range(len(sample.tensors)))

    def plain(*tensors: Tensor) -> Any:
        return function(*tensors, **sample.options)

    def scalar(*tensors: Tensor) -> Tensor:
        out = plain(*tensors)
        outputs = out if isinstance(out, tuple) else (out,)
        weighted = zip(outputs, cotangents(outputs), strict=True)
        return torch.stack([(o.sin() * c).sum() for o, c in weighted]).sum()

    tensors, tangents = sample.tensors, tuple(t.cos() for t in sample.tensors)
    return {
        "grad": torch.func.grad(scalar, everything)(*tensors),
        "jacrev": torch.func.jacrev(plain, everything)(*tensors),
        "jacfwd": torch.func.jacfwd(plain, everything)(*tensors),
        "hessian": torch.func.hessian(scalar, everything)(*tensors),
        "jvp": torch.func.jvp(plain, tensors, tangents),
    }

"""The wrappers of the Triton kernels under the watch; run by test_no_copies.py.

Everything runs except the launches: allocations, tables and copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from flowkernels.ops.triton import bessel_order, bessel_plan, vmf_sample
from flowkernels.ops.triton.engine import calls
from flowkernels.ops.triton.engine.refuse import remember
from flowkernels.ops.triton.registration import OPS, WHOLE

from ..ops.case import Case
from ..ops.cases import CASES
from ..ops.promises import Recorder, gradients
from .watch import fake_device, like, watched

TABLES = (bessel_plan.plan_at, bessel_order.tables, vmf_sample._nodes)


@pytest.fixture(autouse=True)
def _no_launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(calls, "launch", lambda call, first: None)
    yield
    calls.forget()
    for made in TABLES:  # of fake tensors
        made.cache_clear()


def calls_of(case: Case) -> list[tuple[str, tuple[Any, ...]]]:
    """The arguments that forward and backward pass to the kernels, recorded on the CPU."""
    with Recorder() as recorder:
        for sample in case.small():
            gradients(case, case.call, sample.to(torch.float32))
    return [(op.name().partition("::")[2].partition(".")[0], args) for op, args in recorder.calls]


def implementation(name: str) -> Any:
    module = import_module(f"flowkernels.ops.triton.{OPS[name.removesuffix('_backward')]}")
    return getattr(module, name)


def run(name: str, args: tuple[Any, ...]) -> None:
    remember(name)
    implementation(name)(*(like(a) if isinstance(a, Tensor) else a for a in args))


def test_every_kernel_is_called() -> None:
    assert set(OPS) - {"vmf_sample_cosine"} == {c.op for c in CASES if c.op in OPS}


@pytest.mark.parametrize("case", [c for c in CASES if c.op in OPS], ids=lambda c: c.op)
def test_wrapper(case: Case) -> None:
    recorded = calls_of(case)
    assert recorded
    with fake_device(), torch.no_grad():
        if case.op in WHOLE:  # the ops that read tables
            for name, args in recorded:
                run(name, args)
        with watched():
            for name, args in recorded:
                run(name, args)


def test_sampler_wrapper() -> None:
    args = (torch.ones(3, 4), torch.tensor(1), 5, True)
    with fake_device(), torch.no_grad():
        run("vmf_sample_cosine", args)
        with watched():
            run("vmf_sample_cosine", args)


@pytest.mark.parametrize(
    "make",
    [
        lambda device: bessel_plan.plan_at(1.5, True, device),
        lambda device: bessel_order.tables(torch.float32, device),
        lambda device: vmf_sample._nodes(device),
    ],
    ids=["plan", "tables", "nodes"],
)
def test_tables_are_not_made_during_capture(make: Any) -> None:
    with fake_device():
        with watched(), pytest.raises(RuntimeError, match="before capturing a CUDA graph"):
            make(torch.device("cuda"))
        first = make(torch.device("cuda"))
        with watched():
            assert make(torch.device("cuda")) is first

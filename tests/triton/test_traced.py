"""On a GPU torch.compile sees through every op, to the launches of its Triton kernels."""

# ruff: noqa: E402

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.source import ConstantSource
from torch._functorch.aot_autograd import aot_export_joint_simple
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

triton = pytest.importorskip("triton", reason="Triton is not installed")

from triton.backends.compiler import GPUTarget

from flowkernels.ops._backends import ON_GPU
from flowkernels.ops.triton.registration import OPS, WHOLE

from ..ops.case import Case
from ..ops.cases import CASES
from ..ops.promises import Recorder, gradients

pytestmark = pytest.mark.skipif(
    ON_GPU != "triton", reason="the compiled CUDA kernels serve the GPU"
)


class _Driver:
    """As much of a GPU as tracing asks for."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


@pytest.fixture(autouse=True)
def _gpu_to_trace_for() -> Iterator[None]:
    if torch.cuda.is_available():
        yield
        return
    before = triton.runtime.driver._active
    triton.runtime.driver.set_active(_Driver())
    yield
    triton.runtime.driver._active = before


def traced(op: Any, args: tuple[Any, ...], symbolic: bool) -> torch.fx.GraphModule:
    """The graph of one call on (fake) CUDA tensors."""
    shapes = ShapeEnv()
    sizes: dict[int, Any] = {}

    def size(n: int) -> Any:
        if not symbolic or n < 2:
            return n
        if n not in sizes:
            symbol = shapes.create_symbol(
                n, source=ConstantSource(f"s{n}"), dynamic_dim=DimDynamic.DYNAMIC
            )
            sizes[n] = shapes.create_symintnode(symbol, hint=n)
        return sizes[n]

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True, shape_env=shapes):
        tensors = [
            torch.empty([size(n) for n in a.shape], dtype=a.dtype, device="cuda")
            for a in args
            if isinstance(a, Tensor)
        ]

        def call(*given: Tensor) -> tuple[Tensor, ...]:
            left = list(given)
            out = op(*(left.pop(0) if isinstance(a, Tensor) else a for a in args))
            return out if isinstance(out, tuple) else (out,)

        graph = aot_export_joint_simple(call, tensors, trace_joint=False)
    fixed = [str(g.expr) for g in shapes.guards if re.match(r"Eq\(s\d+, \d+\)", str(g.expr))]
    assert not fixed, f"tracing fixes sizes: {fixed}"
    return graph


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.op in OPS and c.op not in WHOLE], ids=lambda c: c.op
)
def test_compile_sees_the_kernels(case: Case, symbolic: bool) -> None:
    with Recorder() as recorder:
        gradients(case, case.call, case.small()[0].to(torch.float32))
    assert len(recorder.calls) == 2
    for op, args in recorder.calls:
        names = [str(node.target) for node in traced(op, args, symbolic).graph.nodes]
        assert any("triton_kernel_wrapper_functional" in name for name in names), names
        assert not any("flowkernels" in name for name in names), names


@pytest.mark.parametrize("case", [c for c in CASES if c.op in WHOLE], ids=lambda c: c.op)
def test_ops_with_tables_stay_whole(case: Case) -> None:
    """Their plans are made once, outside of any graph."""
    with Recorder() as recorder:
        gradients(case, case.call, case.small()[0].to(torch.float32))
    for op, args in recorder.calls:
        names = [str(node.target) for node in traced(op, args, symbolic=False).graph.nodes]
        assert any("flowkernels" in name for name in names), names


def test_the_sampler_stays_whole() -> None:
    """Its path reads a plan; its arguments are no case of the shared checker."""
    op = torch.ops.flowkernels.vmf_sample_cosine.default
    graph = traced(op, (torch.ones(3, 4), torch.tensor(1), 5, True), symbolic=True).graph
    assert any("vmf_sample_cosine" in str(node.target) for node in graph.nodes)

"""Every op keeps every promise: one checker over all cases, sample by sample.

A new op is held to all of this by its declaration (cases.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowkernels.ops._declaration import OPS

from .case import Bad, Sample, Trial, cotangents, strided_variants
from .cases import CASES
from .promises import (
    Recorder,
    assert_memory,
    assert_near,
    covering,
    derivatives,
    each,
    each_dtype,
    each_empty,
    each_sample,
    each_small,
    gradients,
    transformed,
    wide,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@each_sample
@each_dtype
def test_value_parity(trial: Trial, dtype: torch.dtype) -> None:
    case, sample = trial.case, trial.sample
    rounded = sample.to(dtype)
    outputs = case.outputs(case.call, rounded)
    for i, (got, want) in enumerate(
        zip(outputs, case.outputs(case.reference, wide(rounded)), strict=True)
    ):
        within = dtype if case.rounds_inside else None
        assert_near(case, got, want, f"{sample.label}, output {i}", dtype=within)
        assert_memory(case, got, rounded)


@each_sample
@each_dtype
def test_gradient_parity(trial: Trial, dtype: torch.dtype) -> None:
    case, sample = trial.case, trial.sample
    rounded = sample.to(dtype)
    # The cotangents are rounded as the outputs are, then used by both.
    leaves, exact = rounded.leaves(), wide(rounded).leaves()
    outputs = case.outputs(case.call, leaves)
    given = cotangents(outputs)
    got = torch.autograd.grad(outputs, leaves.tensors, given)
    want = torch.autograd.grad(
        case.outputs(case.reference, exact), exact.tensors, tuple(g.double() for g in given)
    )
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.dtype == leaves.tensors[i].dtype
        assert_near(case, a, b, f"{sample.label}, gradient {i}", factor=4)


@each_sample
def test_strides(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    want = case.outputs(case.call, sample)
    want_grads = gradients(case, case.call, sample)
    for position, tensor in enumerate(sample.tensors):
        if not tensor.ndim or not tensor.numel():
            continue
        for layout, view in strided_variants(tensor):
            tensors = list(sample.tensors)
            tensors[position] = view.detach().requires_grad_()
            label = f"{sample.label}, argument {position} {layout}"
            strided = Sample(label, tuple(tensors), sample.options)
            outputs = case.outputs(case.call, strided)
            for a, b in zip(outputs, want, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13, msg=label)
                assert_memory(case, a, strided)
            (got,) = torch.autograd.grad(outputs, tensors[position], cotangents(outputs))
            torch.testing.assert_close(got, want_grads[position], rtol=1e-12, atol=1e-12, msg=label)


@each_empty
@each_dtype
def test_empty(trial: Trial, dtype: torch.dtype) -> None:
    """Where an argument has no elements, the others may have values and gradients."""
    case, sample = trial.case, trial.sample
    rounded = sample.to(dtype)
    outputs = case.outputs(case.call, rounded.leaves())
    wants = case.outputs(case.reference, wide(rounded).leaves())
    for got, want in zip(outputs, wants, strict=True):
        assert_near(case, got, want, sample.label, dtype=dtype if case.rounds_inside else None)
    got_gradients = gradients(case, case.call, rounded)
    for got, t in zip(got_gradients, rounded.tensors, strict=True):
        assert got.shape == t.shape
        assert got.dtype == t.dtype


@each_empty
def test_empty_gradients(trial: Trial) -> None:
    """First and second derivatives, and in other layouts of memory."""
    case, sample = trial.case, trial.sample
    want = derivatives(case, case.reference, sample)
    torch.testing.assert_close(derivatives(case, case.call, sample), want)
    for position, tensor in enumerate(sample.tensors):
        if not tensor.ndim:
            continue
        for layout, view in strided_variants(tensor):
            tensors = list(sample.tensors)
            tensors[position] = view
            leaves = [t.detach().requires_grad_() for t in tensors]
            label = f"{sample.label}, argument {position} {layout}"
            strided = Sample(label, tuple(leaves), sample.options)
            outputs = case.outputs(case.call, strided)
            got = torch.autograd.grad(outputs, leaves, cotangents(outputs))
            torch.testing.assert_close(got, want[0], msg=label)


@each_empty
def test_no_elements_under_vmap_and_compile(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    wants = case.outputs(case.call, sample)
    torch._dynamo.reset()

    def call(*tensors: Tensor) -> Any:
        return case.outputs(case.call, Sample("", tensors, sample.options))

    for count in (2, 0):
        stacked = tuple(torch.stack([t] * 2)[:count] for t in sample.tensors)
        for got, want in zip(torch.vmap(call)(*stacked), wants, strict=True):
            torch.testing.assert_close(got, torch.stack([want] * 2)[:count])
    leaves = sample.leaves()
    outputs = torch.compile(call, fullgraph=True, backend="aot_eager")(*leaves.tensors)
    for got, want in zip(outputs, wants, strict=True):
        torch.testing.assert_close(got, want)
    grads = torch.autograd.grad(outputs, leaves.tensors, cotangents(outputs))
    for got, want in zip(grads, gradients(case, case.call, sample), strict=True):
        torch.testing.assert_close(got, want)


@each_small
def test_gradcheck(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    leaves = sample.leaves()

    def call(*tensors: Tensor, options: dict[str, Any] = sample.options) -> Any:
        return case.call(*tensors, **options)

    assert torch.autograd.gradcheck(
        call, leaves.tensors, check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(
        call, leaves.tensors, check_fwd_over_rev=True, check_batched_grad=True
    )


@each_small
def test_opcheck(trial: Trial) -> None:
    """Tracing a second derivative with dynamic shapes takes up to 15 seconds: once a setting.

    Public ops that are one of the dispatcher's share its settings.
    """
    case, sample = trial.case, trial.sample
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if (str(case), sample.label) in covering(case.op):
        checks.append("test_aot_dispatch_dynamic")
    if case.arguments is not None:
        packet = getattr(torch.ops.flowkernels, case.op)
        torch.library.opcheck(packet.default, case.arguments(sample), test_utils=checks)
        return
    with Recorder() as recorder:
        gradients(case, case.call, sample)
    names = {func.name().split("::")[1].split(".")[0] for func, _ in recorder.calls}
    assert {case.op, f"{case.op}_backward"} <= names, f"only {names} were called"
    for func, args in recorder.calls:
        arguments = [a.name for a in func._schema.arguments]
        own = tuple(
            a.detach().clone().requires_grad_(n not in case.constants)
            if isinstance(a, Tensor)
            else a
            for n, a in zip(arguments, args, strict=False)
        )
        torch.library.opcheck(func, own, test_utils=checks)


@each_small
def test_formulas_agree_with_the_kernels(trial: Trial) -> None:
    """The formulas behind higher derivatives and FLOWKERNELS_BACKEND=reference."""
    case, sample = trial.case, trial.sample
    if case.arguments is not None:
        calls = [(getattr(torch.ops.flowkernels, case.op).default, case.arguments(sample))]
    else:
        with Recorder() as recorder:
            gradients(case, case.call, sample)
        calls = recorder.calls
    assert calls
    for func, args in calls:
        name = func.name().partition("::")[2].partition(".")[0]
        formula = (
            getattr(torch.ops.flowkernels, f"{name}_composite").default
            if OPS[name.removesuffix("_backward")].kernels
            else OPS[name].formula
        )
        torch.testing.assert_close(formula(*args), func(*args), rtol=1e-11, atol=1e-12)


# The slow backend of one sample an op.
COMPILED = [
    (backend, Trial(case, sample))
    for case in CASES
    for backend, count in (("aot_eager", None), ("inductor", 1))
    for sample in case.small()[:count]
]


@pytest.mark.parametrize(("backend", "trial"), COMPILED, ids=str)
def test_compile(backend: str, trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    torch._dynamo.reset()

    def call(*tensors: Tensor, options: dict[str, Any] = sample.options) -> Any:
        return case.call(*tensors, **options)

    compiled = torch.compile(call, fullgraph=True, backend=backend)
    leaves = sample.leaves()
    out = compiled(*leaves.tensors)
    outputs = out if isinstance(out, tuple) else (out,)
    got = torch.autograd.grad(outputs, leaves.tensors, cotangents(outputs))
    for a, b in zip(outputs, case.outputs(case.call, sample), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(got, gradients(case, case.call, sample), strict=True):
        torch.testing.assert_close(a, b)


@each_small
def test_torch_func(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    wants = transformed(case.reference, sample)
    for name, got in transformed(case.call, sample).items():
        torch.testing.assert_close(
            got, wants[name], rtol=1e-7, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


@each_small
def test_vmap(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    stacked = tuple(torch.stack([t, t * 0.75, t * 0.5]) for t in sample.tensors)
    loop = [
        case.outputs(case.call, Sample("", tuple(s[i] for s in stacked), sample.options))
        for i in range(3)
    ]
    wants = [torch.stack(each) for each in zip(*loop, strict=True)]

    def call(*tensors: Tensor, options: dict[str, Any] = sample.options) -> Any:
        out = case.call(*tensors, **options)
        return out if isinstance(out, tuple) else (out,)

    for got, want in zip(torch.vmap(call)(*stacked), wants, strict=True):
        torch.testing.assert_close(got, want)
    # One argument batched, along its last dimension; the others shared.
    moved = stacked[0].movedim(0, -1)
    dims = (-1, *([None] * (len(stacked) - 1)))
    loop = [
        case.outputs(case.call, Sample("", (stacked[0][i], *sample.tensors[1:]), sample.options))
        for i in range(3)
    ]
    wants = [torch.stack(each) for each in zip(*loop, strict=True)]
    for got, want in zip(
        torch.vmap(call, in_dims=dims)(moved, *sample.tensors[1:]), wants, strict=True
    ):
        torch.testing.assert_close(got, want)


@each_small
def test_autocast(trial: Trial) -> None:
    """Under autocast a network hands over bfloat16 beside float32 inputs."""
    case, sample = trial.case, trial.sample
    single = sample.to(torch.float32)
    for half in range(len(single.tensors)):
        tensors = tuple(t.bfloat16() if i == half else t for i, t in enumerate(single.tensors))
        mixed = Sample(sample.label, tensors, sample.options)
        with torch.autocast(mixed.tensors[0].device.type, dtype=torch.bfloat16):
            outputs = case.outputs(case.call, mixed)
            got = gradients(case, case.call, mixed)
        for a, b in zip(outputs, case.outputs(case.reference, wide(mixed)), strict=True):
            within = torch.bfloat16 if case.rounds_inside else None
            assert_near(case, a, b, sample.label, dtype=within)
        for a, b in zip(got, mixed.tensors, strict=True):
            assert a.dtype == b.dtype
            assert a.isfinite().all()


@each_sample
def test_threads_do_not_change_results(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append((*case.outputs(case.call, sample), *gradients(case, case.call, sample)))
        finally:
            torch.set_num_threads(1)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a.nan_to_num(7e77), b.nan_to_num(7e77)), sample.label


@each("small", lambda case: case.bijection)
def test_log_det_is_that_of_the_jacobian(trial: Trial) -> None:
    case, sample = trial.case, trial.sample
    x, rest = sample.tensors[0], sample.tensors[1:]
    log_dets = case.outputs(case.call, sample)[1].reshape(-1)
    jacobian = torch.autograd.functional.jacobian(
        lambda t, rest=rest, options=sample.options: case.call(t, *rest, **options)[0], x
    )
    rows = log_dets.numel()
    full = jacobian.reshape(rows, -1, rows, x.numel() // rows)
    for i in range(rows):
        block = full[i, :, i]
        # To a surface in a higher space the volume element is sqrt det J^T J, and from
        # the unit sphere by a map of directions sqrt det J J^T.
        from_surface = block.shape[0] < block.shape[1]
        gram = block @ block.T if from_surface else block.T @ block
        want = 0.5 * torch.linalg.slogdet(gram).logabsdet
        torch.testing.assert_close(log_dets[i], want, rtol=1e-9, atol=1e-9)


def test_every_op_refuses_something() -> None:
    for case in CASES:
        assert case.bad(), f"{case.op} has no calls that must raise"


@pytest.mark.parametrize(
    "bad", [pytest.param(b, id=f"{c}-{b.label}") for c in CASES for b in c.bad()]
)
def test_bad_input(bad: Bad) -> None:
    with pytest.raises(bad.error) as caught:
        bad.call()
    for word in bad.mentions:
        assert word in str(caught.value), f"{bad.label}: {word!r} not in {caught.value}"


def spoilt(t: Tensor) -> list[tuple[str, Tensor]]:
    """Tensors that a kernel which reads them as `t` would read beyond, or as something else."""
    return [
        ("empty", t.new_empty(0)),
        ("one element", t.new_ones(1)),
        ("one more dimension", t.unsqueeze(0)),
        ("one row more", torch.cat([t.reshape(-1), t.new_ones(1)])),
        ("integers", t.to(torch.int32)),
        ("another precision", t.to(torch.float16 if t.dtype == torch.float64 else torch.float64)),
        ("on another device", t.to("meta")),
    ]


# A case without arguments of its own for the dispatcher is one op, which has a backward there.
@each("small", lambda case: case.arguments is None)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def test_backward_refuses_other_gradients(trial: Trial, dtype: torch.dtype) -> None:
    """Of other shapes, dtypes or devices than those of the op's outputs."""
    case, sample = trial.case, trial.sample
    tried = 0
    with Recorder() as recorder:
        gradients(case, case.call, sample.to(dtype))
    backward, args = next(
        (f, a) for f, a in recorder.calls if f.name() == f"flowkernels::{case.op}_backward"
    )
    names = [a.name for a in backward._schema.arguments]
    count = len(names) - len(getattr(torch.ops.flowkernels, case.op).default._schema.arguments)
    for position, name in enumerate(names[:count]):
        given = args[position]
        assert isinstance(given, Tensor)
        for what, wrong in spoilt(given):
            facts = [(t.shape, t.dtype, t.device) for t in (wrong, given)]
            if facts[0] == facts[1]:
                continue  # a gradient of one element
            changed = (*args[:position], wrong, *args[position + 1 :])
            for mode in (torch.enable_grad, torch.inference_mode):
                with mode(), pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
                    backward(*changed)
                message = str(caught.value)
                assert "_backward" in message, f"{name} {what}: {message}"
                if wrong.device == given.device:
                    assert f"`{name}`" in message, f"{name} {what}: {message}"
                tried += 1
    for position, given in enumerate(args):
        if isinstance(given, Tensor) and given.numel():
            changed = (*args[:position], given.new_empty(0), *args[position + 1 :])
            with torch.inference_mode(), pytest.raises((ValueError, TypeError)):
                backward(*changed)
            tried += 1
    assert tried


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets(isa: str) -> None:
    """The copies of the kernels that this processor would not choose agree as well."""
    from flowkernels import _C

    if isa not in _C.build_info()["cpu_isas_compiled"]:
        pytest.skip(f"{isa} is not compiled on this machine")
    if isa == _C.build_info()["cpu_isa"]:
        pytest.skip(f"{isa} is what every other test already runs")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # torch.compile calls the same kernels.
    chosen = "(value_parity or gradient_parity or strides or empty) and not compile"
    command += [str(Path(__file__)), "-k", chosen]
    run = subprocess.run(
        command,
        env={**os.environ, "FLOWKERNELS_CPU_ISA": isa},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=900,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]

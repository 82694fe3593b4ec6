"""Every launch goes through Triton's own launcher: its signature, what it specialises on, and the
arguments that a compiled kernel is handed, at the first call and at later ones."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: it has no wheels for this system")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from flowkernels.ops.triton import stereographic
from flowkernels.ops.triton.engine import calls

from .compile_all import source_of
from .variants import Launch, launches

TARGET = GPUTarget("cuda", 90, 32)


class Gpu:
    """As much of a GPU and its driver as a launch asks for; kernels are noted, not run."""

    def __init__(self) -> None:
        self.compiled: list[dict[str, Any]] = []
        self.started: list[tuple[Any, ...]] = []

    def get_current_target(self) -> GPUTarget:
        return TARGET

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 42 + device

    def compile(
        self, kernel: Any, key: Any, signature: Any, device: Any, constants: Any, options: Any,
        attributes: Any, warmup: Any,
    ) -> CompiledKernel:  # fmt: skip
        self.compiled.append(
            {"signature": signature, "constants": constants, "attributes": attributes}
        )
        made = object.__new__(CompiledKernel)
        made.metadata = SimpleNamespace(target=TARGET)
        made.packed_metadata, made.module, made.function = (), object(), 7
        made.name, made.src = kernel.__name__, None
        # Without the dictionary made for hooks, new at each launch.
        made._run = lambda *args: self.started.append((*args[:6], *args[7:]))
        kernel.device_caches[0][0][key] = made
        return made


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    made = Gpu()
    before = triton.runtime.driver._active
    triton.runtime.driver.set_active(made)
    monkeypatch.setattr(
        JITFunction, "_do_compile", lambda kernel, *args: made.compile(kernel, *args)
    )
    calls.forget()
    yield made
    calls.forget()
    triton.runtime.driver._active = before


def fresh(kernel: Any) -> None:
    """Forgets what Triton has compiled of a kernel."""
    kernel.device_caches.clear()


LAUNCHES = launches(quick=False)


@pytest.mark.parametrize("launch", LAUNCHES, ids=lambda launch: launch.label)
def test_launcher_takes_the_arguments(launch: Launch, gpu: Gpu) -> None:
    fresh(launch.kernel)
    call, first = launch.call, launch.first
    call.bound = None
    calls.launch(call, first)
    (compiled,) = gpu.compiled
    source = source_of(launch)
    assert compiled["signature"] == source.signature
    names = launch.kernel.arg_names
    given = {names[path[0]]: value for path, value in compiled["constants"].items()}
    expected = {names[path[0]]: value for path, value in source.constants.items()}
    assert given == expected
    assert {path: of for path, of in compiled["attributes"].items() if of} == source.attrs

    assert call.bound is not None
    calls.launch(call, first)
    assert len(gpu.compiled) == 1
    by_launcher, by_call = gpu.started
    assert len(by_launcher) == len(by_call)
    for a, b in zip(by_launcher, by_call, strict=True):
        assert a is b or a == b
    fresh(launch.kernel)


def test_pointers_elsewhere_go_through_the_launcher(gpu: Gpu) -> None:
    fresh(stereographic.forward_kernel)
    memory = torch.rand(33)
    aligned, beside = memory[:32].view(4, 8), memory[1:].view(4, 8)
    for z in (beside, aligned, beside, aligned):
        stereographic.stereographic(z)
    assert len(gpu.started) == 4
    assert len(gpu.compiled) == 2  # one for each alignment
    (call,) = stereographic.stereographic.calls.values()
    assert call.bound is not None
    assert call.bound.fits((aligned,) * 3)
    assert not call.bound.fits((aligned, beside, aligned))
    pointers = [args[8].data_ptr() for args in gpu.started]
    assert pointers == [z.data_ptr() for z in (beside, aligned, beside, aligned)]
    fresh(stereographic.forward_kernel)


def test_other_versions_are_left_to_the_launcher(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(stereographic.forward_kernel)
    monkeypatch.setattr(calls, "BINDABLE", set())
    for _ in range(2):
        stereographic.stereographic(torch.rand(4, 8))
    (call,) = stereographic.stereographic.calls.values()
    assert call.bound is None
    assert len(gpu.started) == 2
    fresh(stereographic.forward_kernel)

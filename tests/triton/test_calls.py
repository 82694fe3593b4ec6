"""What a repeated call costs in Python: a look-up, allocations and the launch, nothing else."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed: it has no wheels for this system")

from benchmarks.wrapper import both, without_launches
from flowkernels.ops.triton import stereographic
from flowkernels.ops.triton.engine import calls

CALLS = {name: (function, args) for name, function, args in both()}
# Python functions that a repeated call enters: the op's and its list of kinds, the call's and its
# list of outputs, the launch; a step over the outputs and a sum or cast of two, where needed.
MOST = 8


@pytest.fixture(autouse=True)
def _no_launches() -> Iterator[None]:
    calls.forget()
    with torch.no_grad(), without_launches():
        yield
    calls.forget()


def entered(function: Any, args: tuple[Any, ...]) -> list[str]:
    """The Python functions that a call enters."""
    names: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.parametrize("name", CALLS)
def test_a_repeated_call_plans_nothing(name: str) -> None:
    function, args = CALLS[name]
    planned = entered(function, args)
    assert len(planned) > MOST
    repeated = entered(function, args)
    assert len(repeated) <= MOST, repeated
    assert len(function.calls) == 1


@pytest.mark.parametrize("name", CALLS)
def test_results_of_a_repeated_call_are_its_own(name: str) -> None:
    function, args = CALLS[name]
    first, second = function(*args), function(*args)
    pairs = zip(first, second, strict=True) if isinstance(first, tuple) else [(first, second)]
    for a, b in pairs:
        assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())
        assert a.numel() == 0 or a.data_ptr() != b.data_ptr()


@pytest.mark.parametrize("name", CALLS)
def test_no_argument_is_kept(name: str) -> None:
    function, args = CALLS[name]
    copies = [a.clone() if isinstance(a, Tensor) else a for a in args]
    kept = [weakref.ref(a) for a in copies if isinstance(a, Tensor)]
    function(*copies)
    del copies
    assert not any(reference() is not None for reference in kept)


def test_kinds_differ_in_shapes_strides_and_dtypes() -> None:
    z = torch.rand(4, 6)
    for kind in (z, z[:, :3], z[:3], z.t(), z.double(), z.bfloat16()):
        s, log_det = stereographic.stereographic(kind)
        assert s.shape == (kind.shape[0], kind.shape[1] + 1)
        assert s.dtype == kind.dtype
        assert log_det.dtype == torch.promote_types(kind.dtype, torch.float32)
    assert len(stereographic.stereographic.calls) == 6


def test_a_refused_call_is_refused_again() -> None:
    from flowkernels.ops.triton.engine.refuse import remember

    remember("stereographic")
    for _ in range(2):
        with pytest.raises(TypeError, match="stereographic"):
            stereographic.stereographic(torch.ones(3, 2, dtype=torch.int64))
    assert not stereographic.stereographic.calls


def test_few_kinds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LIMIT", 8)
    for rows in range(30):
        stereographic.stereographic(torch.rand(rows, 3))
        assert len(stereographic.stereographic.calls) <= 8


def test_nothing_is_kept_while_tracing() -> None:
    traced: list[Any] = []
    calls.launch = lambda call, first: traced.append(call.start)
    with calls.into_graph():
        stereographic.stereographic(torch.rand(2, 3))
    assert traced == [None]
    assert not stereographic.stereographic.calls


def test_threads_share_kinds() -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            with torch.no_grad():
                for i in range(300):
                    rows = (i * 7 + seed) % 40
                    s, _ = stereographic.stereographic(torch.rand(rows, 3))
                    assert s.shape == (rows, 4)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(stereographic.stereographic.calls) == 40

"""The parts of `python -m benchmarks.gpu` that run without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import plain
from benchmarks.gpu import call, glow_step, parity, plan
from benchmarks.gpu.rows import HUGE, SIZES, rows, tensors_on
from benchmarks.gpu.timing import Bench, Effort, turns_for
from benchmarks.plain_glow import PlainGlow
from benchmarks.steps import images, our_glow
from flowkernels import ops
from tests.ops.cases import CASES

ROOT = Path(__file__).parents[2]


def test_rows_cover_the_goals() -> None:
    huge = {row.subject.op for row, _ in rows() if row.size == HUGE}
    assert {"affine_coupling", "log_det_diagonal", "stereographic", "slerp", "vmf_log_prob"} <= huge
    assert {"tangent_normal", "vmf_sample", "stereographic_inverse"} <= huge
    longest = {row.subject.op for row, _ in rows() if row.size == (100_000_000,)}
    assert {"vmf_log_normalizer", "vmf_mean_resultant"} <= longest
    assert any(note for _, note in rows())
    sizes = [row.size for row, _ in rows(ops=["affine_coupling"])]
    assert set(sizes) == set(SIZES)
    assert {row.direction for row, _ in rows()} == {"forward", "backward", "forward+backward"}


def test_every_row_has_a_plain_formula() -> None:
    """Eager and compiled peers are functions of the op's name."""
    assert not {row.subject.op for row, _ in rows() if not hasattr(plain, row.subject.op)}


def test_rows_visit_every_op_before_the_next_size() -> None:
    """Every op is timed at its smallest size before any is timed at its next."""

    def labels(**chosen: Any) -> list[str]:
        return [f"{row.label} {note}" for row, note in rows(**chosen)]

    everything, first = labels(), labels(ranks=[0])
    assert everything[: len(first)] == first
    assert {r.subject.op for r, _ in rows(ranks=[0])} == {r.subject.op for r, _ in rows()}
    assert [n for rank in range(plan.ROUNDS) for n in labels(ranks=[rank])] == everything


@pytest.mark.parametrize("direction", ["forward", "backward", "forward+backward"])
def test_calls_run_the_row(direction: str) -> None:
    row = next(r for r, _ in rows(tiny=True, ops=["stereographic"]) if r.direction == direction)
    first = tensors_on(row, "cpu")
    made = call.calls_of(row, call.function_of(row, "cuda", "cpu"), [first])
    s, log_det = ops.stereographic(first[0])
    out = made.calls[0]()
    size, result = call.bytes_of(first), call.bytes_of((s, log_det))
    if direction == "forward":
        assert torch.equal(out[0], s)
        assert made.moved == size + result
    else:
        assert made.calls[0]()[0].shape == first[0].shape  # a second call: the graph is retained
        assert made.moved == 2 * size + result + (size + result) * (direction != "backward")


def test_wrong_rows_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for row, _ in rows(tiny=True):
        if row.direction == "forward+backward":
            function = call.function_of(row, "cuda", "cpu")
            assert call.problem(row, function, tensors_on(row, "cpu"), "cpu") is None, row.label
    row = next(r for r, _ in rows(tiny=True, ops=["slerp"]) if r.direction == "backward")
    slerp = call.function_of(row, "cuda", "cpu")
    inputs = tensors_on(row, "cpu")
    found = call.problem(row, lambda a, b: slerp(a, b) * (1 + 1e-4), inputs, "cpu")
    assert found is not None
    assert found.startswith("output 0: error")
    found = call.problem(row, lambda a, b: slerp(a, b.detach()) + 0 * b, inputs, "cpu")
    assert found is not None
    assert found.startswith("gradient 1: error")


def test_plain_samplers() -> None:
    torch.manual_seed(0)
    loc = torch.nn.functional.normalize(torch.randn(20), dim=0)
    kappa = torch.tensor(30.0)
    x = plain.vmf_sample(loc, kappa, (20000,))
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(20000))
    mean = ops.vmf_mean_resultant(kappa, 20)
    assert abs((x @ loc).mean() - mean) < 5 * (x @ loc).std() / 20000**0.5


class Synchronizations(TorchDispatchMode):
    """Records ops that synchronise host and device, which cannot be captured in a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record the op, then run it."""
        if func.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"):
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


def test_plain_glow_matches_ours() -> None:
    x, flow = images()[:4], our_glow()
    flow.log_prob(x)
    with torch.no_grad():
        for i, p in enumerate(flow.parameters()):
            p += 0.02 * torch.linspace(-1, 1, p.numel()).add(i).sin().reshape(p.shape)
    plain = PlainGlow(flow)
    got, want = plain.log_prob(x), flow.log_prob(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
    grads = [
        sorted(g.norm().item() for g in torch.autograd.grad(out.mean(), list(module.parameters())))
        for out, module in ((got, plain), (want, flow))
    ]
    torch.testing.assert_close(torch.tensor(grads[0]), torch.tensor(grads[1]), rtol=1e-3, atol=1e-4)


def test_our_glow_step_can_be_captured() -> None:
    x, flow = images()[:4], our_glow()
    flow.log_prob(x)
    with Synchronizations() as waits:
        flow.log_prob(x).mean().backward()
    assert not waits.found
    with Synchronizations() as waits:
        bool(x.sum() > 0)
    assert waits.found


def test_wrong_glow_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    log_prob = PlainGlow.log_prob
    monkeypatch.setattr(PlainGlow, "log_prob", lambda self, x: log_prob(self, x) * 1.01)
    with pytest.raises(AssertionError, match="not close"):
        glow_step.step_of("cuda", "cpu")


def test_inputs_fill_the_cache() -> None:
    cache = 50 * 2**20
    assert turns_for(64, cache) == 2
    assert turns_for(cache // 32, cache) == 32
    assert turns_for(cache, cache) == 4
    assert turns_for(16 * cache, cache) == 1


def test_seconds_are_per_call() -> None:
    calls: list[int] = []
    bench = Bench("cpu", Effort(3, 0.0, 0.0))
    assert bench.seconds([lambda: calls.append(0), lambda: calls.append(1)]) < 0.1
    assert calls.count(0) == calls.count(1) > 0


def test_parity_detects_errors() -> None:
    slerp = next(c for c in CASES if c.op == "slerp")
    sample = slerp.samples()[0].to(torch.float32)

    def wrong(*tensors: Any, **options: Any) -> Any:
        return slerp.call(*tensors, **options) * (1 + 1e-4)

    def wrong_gradient(a: Any, b: Any, t: Any) -> Any:
        return slerp.call(a, b.detach(), t) + 0 * b.sum()

    assert parity.problem(slerp, sample) is None
    found = parity.problem(replace(slerp, call=wrong), sample)
    assert found is not None
    assert found.startswith("output 0: error")
    found = parity.problem(replace(slerp, call=wrong_gradient), sample)
    assert found is not None
    assert found.startswith("gradient 1: error")

"""The machinery of `python -m benchmarks.gpu`, as far as it goes without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import cpp_extension
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import peers
from benchmarks.gpu import build, glow_step, parity, tree
from benchmarks.gpu.rows import HUGE, rows
from benchmarks.gpu.timing import Bench, Effort, turns_for
from benchmarks.plain_glow import PlainGlow
from benchmarks.steps import have, images, our_glow
from flowkernels import ops
from tests.ops.case import Case, Sample
from tests.ops.cases import CASES

ROOT = Path(__file__).parents[2]


def test_rehearsal(tmp_path: Path) -> None:
    """Stages end as they should, whatever others do; one file holds it all."""
    wanted = ["build", "bench eager", "bench cuda", "bench normflows"]
    wanted += ["times out", "fails", "needs it", "lacks something"]
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--output", str(tmp_path)]
    run = subprocess.run(
        [*command, "--only", *wanted], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 1, run.stdout + run.stderr  # a stage that fails is not hidden
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert {s["name"]: s["status"] for s in result["stages"]} == {
        "build": "passed",
        "bench eager": "passed",
        "bench cuda": "passed",
        "bench normflows": "passed" if have("normflows") else "skipped",
        "times out": "timed out",
        "fails": "failed",
        "needs it": "skipped",
        "lacks something": "skipped",
    }, run.stdout
    timed = [r for r in result["rows"] if "op" in r]
    for contestant in ("eager", "cuda"):
        own = [r for r in timed if r["contestant"] == contestant]
        assert len(own) == len(rows(tiny=True)) + 1
        assert all(r["us"] > 0 for r in own)
        assert all(r["fraction_of_copy"] > 0 for r in own if r["op"] != "glow")
    steps = {r["contestant"] for r in timed if r["op"] == "glow"}
    assert steps == {"eager", "cuda", *(["normflows"] if have("normflows") else [])}
    assert "as it should" in run.stdout


def test_rows_are_those_of_the_goals() -> None:
    huge = {row.subject.op for row, _ in rows() if row.size == HUGE}
    assert {"affine_coupling", "log_det_diagonal", "stereographic", "slerp", "vmf_log_prob"} <= huge
    assert {"tangent_normal", "vmf_sample", "stereographic_inverse"} <= huge
    longest = {row.subject.op for row, _ in rows(few=True) if row.size == (100_000_000,)}
    assert {"vmf_log_normalizer", "vmf_mean_resultant"} <= longest
    assert any(note for _, note in rows())
    sizes = [row.size for row, _ in rows(few=True) if row.subject.op == "affine_coupling"]
    assert set(sizes) == {(64, 8), HUGE}


def test_samplers_in_plain_torch() -> None:
    torch.manual_seed(0)
    loc = torch.nn.functional.normalize(torch.randn(20), dim=0)
    kappa = torch.tensor(30.0)
    x = peers.vmf_sample(loc, kappa, (20000,))
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(20000))
    mean = ops.vmf_mean_resultant(kappa, 20)
    assert abs((x @ loc).mean() - mean) < 5 * (x @ loc).std() / 20000**0.5


class Waits(TorchDispatchMode):
    """Notes the ops for whose result the host would wait, which no CUDA graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Notes, then runs."""
        if func.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"):
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


def test_glow_in_plain_torch_is_ours() -> None:
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


def test_a_graph_can_hold_our_glow_step() -> None:
    x, flow = images()[:4], our_glow()
    flow.log_prob(x)
    with Waits() as waits:
        flow.log_prob(x).mean().backward()
    assert not waits.found
    with Waits() as waits:
        bool(x.sum() > 0)
    assert waits.found


def test_glow_is_timed_only_where_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    log_prob = PlainGlow.log_prob
    monkeypatch.setattr(PlainGlow, "log_prob", lambda self, x: log_prob(self, x) * 1.01)
    with pytest.raises(AssertionError, match="not close"):
        glow_step.step_of("cuda", "cpu")


def test_inputs_take_turns_until_the_cache_is_full() -> None:
    cache = 50 * 2**20
    assert turns_for(64, cache) == 32
    assert turns_for(cache, cache) == 4
    assert turns_for(16 * cache, cache) == 1


def test_seconds_are_a_calls() -> None:
    calls: list[int] = []
    bench = Bench("cpu", Effort(3, 0.0, 0.0))
    assert bench.seconds([lambda: calls.append(0), lambda: calls.append(1)]) < 0.1
    assert calls.count(0) == calls.count(1) > 0


def test_parity_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    slerp = next(c for c in CASES if c.op == "slerp")

    def wrong(*tensors: Any, **options: Any) -> Any:
        return slerp.call(*tensors, **options) * (1 + 1e-4)

    def raises(*tensors: Any, **options: Any) -> Any:
        raise RuntimeError("no kernel")

    def few() -> list[Sample]:
        return slerp.samples()[:1]

    for call, word in ((slerp.call, None), (wrong, "error"), (raises, "no kernel")):
        case = Case(
            slerp.op, call, slerp.reference, few, slerp.small, slerp.empty, slerp.bad
        )  # fmt: skip
        monkeypatch.setattr(parity, "CASES", [case])
        (problems,) = parity.check("cpu", ["float32"]).values()
        assert bool(problems) == bool(word)
        assert word is None or word in problems[0]


FAKE = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -c) test -f "$2" || exit 3; shift;;
    -o) touch "$2"; shift;;
  esac
  shift
done
"""


def test_build_without_ninja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every source is compiled and linked into the tree: with compilers that only pretend."""
    (tmp_path / "bin").mkdir()
    for name in ("c++", "nvcc"):
        tool = tmp_path / "bin" / name
        tool.write_text(FAKE)
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(tree, "TREE", tmp_path / "tree")
    tree.make()
    direct = build._Direct()
    assert direct.run() == 0
    objects = {p.name for p in direct.objects.glob("*.o")}
    sources = [p for p in ROOT.glob("csrc/**/*") if p.suffix in (".cpp", ".cu")]
    for source in sources:
        assert any(o.endswith(f"_{source.stem}.o") for o in objects), source
    built = {p.name.split(".")[0] for p in (tree.TREE / "flowkernels").glob("*.so")}
    assert built == {"_C", "_C_cuda"}
    assert not any(p.is_symlink() for p in (tree.TREE / "flowkernels").glob("*.so"))


def test_build_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert build.main() == 1
    assert "nvcc was not found" in capsys.readouterr().out

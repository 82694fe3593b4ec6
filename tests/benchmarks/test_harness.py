"""The benchmark harness: rows, parity checks, timing, reports."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("rich", reason="the benchmarks print with rich")
pytest.importorskip("pytest_benchmark", reason="the benchmarks run under pytest-benchmark")

from benchmarks import implementations, interleaved, parity, report
from benchmarks.registry import SMALL, SUBJECTS, Row, Subject, rows

ROOT = Path(__file__).parents[2]
EVERY = rows(full=True)


def small_rows() -> list[Row]:
    """The smallest forward+backward row of every op."""
    return [
        Row(subject, min(subject.full, key=math.prod), "float32", "forward+backward", 1)
        for subject in SUBJECTS
    ]


def test_every_public_op_is_timed() -> None:
    from flowkernels import ops

    untimed = {
        "affine_coupling_split_backward": "the gradient of affine_coupling_split",
        "identity_split": "views; timed in the training steps",
        "tangent_normal": "nearly all of vmf_sample",
        "vmf_sample": "timed in bench_special.py",
        "iv_ratio": "the loop of vmf_mean_resultant",
        "vmf_concentration": "a few calls of vmf_mean_resultant",
        "vmf_divergence": "the loop of vmf_log_normalizer",
        "vmf_log_peak": "the loop of vmf_log_normalizer",
    }
    public = {n for n in ops.__all__ if callable(getattr(ops, n)) and not n[0].isupper()}
    missing = public - {s.op for s in SUBJECTS} - set(untimed)
    assert not missing, f"no benchmark of {sorted(missing)}"


def test_labels_are_unique_and_quick_rows_are_a_subset() -> None:
    labels = [row.label for row in EVERY]
    assert len(labels) == len(set(labels))
    quick = {row.label for row in rows()}
    assert {row.subject.op for row in rows()} == {s.op for s in SUBJECTS}
    assert quick <= set(labels)


@pytest.mark.parametrize("row", small_rows(), ids=lambda row: row.subject.op)
def test_formulas_agree_with_the_reference(row: Row) -> None:
    """The formulas that ops are compared with are correct."""
    # The plain formulas use Debye's expansion, for large orders only.
    is_density = row.subject.op.endswith("vmf_log_prob") or "mixture" in row.subject.op
    size = (8, 200) if is_density else row.size
    row = replace(row, size=size, dtype="float64")
    tensors = row.tensors()
    reference, *others = (
        implementations.as_tuple(function(*tensors))
        for function in implementations.formulas(row).values()
    )
    for other in others:
        for a, b in zip(other, reference, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("op", ["log_iv", "vmf_log_normalizer", "vmf_mean_resultant"])
def test_derivatives_of_the_scipy_formulas(op: str) -> None:
    row = next(row for row in small_rows() if row.subject.op == op)
    tensors = tuple(t.double() for t in row.tensors())
    functions = implementations.formulas(row)
    (got,) = implementations.forward_backward(functions["scipy"], tensors)()
    (want,) = implementations.forward_backward(functions["plain"], tensors)()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("row", small_rows(), ids=lambda row: row.subject.op)
def test_parity_holds(row: Row) -> None:
    parity.check(row, row.tensors())
    parity.check(replace(row, direction="forward"), row.tensors())


def test_wrong_results_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    from flowkernels import ops

    right = ops.log_det_diagonal
    row = next(r for r in EVERY if r.label == "log_det_diagonal-64x3-float32-forward-1t")
    monkeypatch.setattr(ops, "log_det_diagonal", lambda d, event_ndim: right(d, event_ndim) + 1e-3)
    with pytest.raises(parity.ParityError, match=r"log_det_diagonal-64x3.*error 0\.00"):
        parity.check(row, row.tensors())
    monkeypatch.setattr(ops, "log_det_diagonal", lambda d, event_ndim: right(d) * math.nan)
    with pytest.raises(parity.ParityError):
        parity.check(row, row.tensors())


def test_every_round_times_all_peers() -> None:
    counts = {"a": 0, "b": 0}

    def count(name: str) -> interleaved.Call:
        def call() -> None:
            counts[name] += 1

        return call

    peers = interleaved.Peers({name: count(name) for name in counts})
    for block in peers.blocks.values():
        block.calls = 2
    before = dict(counts)
    for _ in range(5):
        peers()
    assert {n: counts[n] - before[n] for n in counts} == {"a": 10, "b": 10}
    assert all(len(times) == 5 for times in peers.seconds.values())


def test_comparison_with_the_fastest_peer() -> None:
    ours = [1e-6, 2e-6, 1e-6, 1e-6]
    # The first round is a warm-up without a counterpart in `ours`.
    peers = {"slow": [9.0, 8e-6, 8e-6, 8e-6, 8e-6], "fast": [9.0, 3e-6, 6e-6, 3e-6, 3e-6]}
    result = interleaved.compare(ours, peers)
    assert result.fastest == "fast"
    assert result.ratio == pytest.approx(3.0)
    assert result.low == result.high == pytest.approx(3.0)
    assert result.microseconds == pytest.approx({"flowkernels": 1.0, "slow": 8.0, "fast": 3.0})


def _row(op: str, direction: str, ratio: float, **more: Any) -> dict[str, Any]:
    row = Row(Subject(op, lambda size: ()), SMALL, "float32", direction, 1).facts()
    times = {"flowkernels": 1.0, "plain, eager": 2.0, "plain, compiled": ratio, "copy": ratio}
    return row | {
        "kind": "op", "microseconds": times, "fastest_peer": "plain, compiled", "ratio": ratio,
        "ratio_quartiles": [ratio, ratio],
    } | more  # fmt: skip


def _result() -> dict[str, Any]:
    machine = {
        "processor": "a", "cores": 2, "instruction_set": "avx2", "torch": "2", "commit": "c" * 40,
        "date": "2026-01-01T00:00:00+00:00", "busy": 3.0,
    }  # fmt: skip
    listed = [_row("slerp", "forward", 8.0), _row("slerp", "forward+backward", 2.0)]
    listed.append(_row("coupling", "forward", 0.5, kind="memory", bytes=1000))
    return {
        "mode": "quick", "clock": "wall", "machine": machine, "rows": listed,
        "refused": {"test_op[x]": "ParityError: error 1"},
    }  # fmt: skip


def test_report_prints_means_and_failures() -> None:
    from rich.console import Console

    console = Console(width=160, record=True, file=io.StringIO())
    report.show(console, _result())
    text = console.export_text()
    assert "geometric mean 4.00" in text
    assert "refused test_op[x]: ParityError: error 1" in text
    assert "several threads are unreliable" in text


def test_results_are_written_atomically(tmp_path: Path) -> None:
    path = report.save_json(_result(), tmp_path / "r.json")
    assert json.loads(path.read_text()) == _result()
    picture = report.save_picture(_result(), tmp_path / "r.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json", "r.png"]


@pytest.mark.slow
def test_one_row_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "-k", "log_det_diagonal-64x3-float32-forward-1t"]
    # pytest-benchmark is disabled in workers of pytest-xdist.
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    run = subprocess.run(
        [*command, "--output", str(tmp_path)],
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    (path,) = tmp_path.glob("*.json")
    (row,) = json.loads(path.read_text())["rows"]
    assert row["op"] == "log_det_diagonal"
    assert set(row["microseconds"]) == {
        "flowkernels", "reference, eager", "plain, eager", "plain, compiled",
    }  # fmt: skip
    assert list(tmp_path.glob("*.png"))

"""The short form of the campaign `determinism`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import flowkernels
from flowkernels.ops._declaration import PUBLIC

from . import calls, determinism
from .calls import Call
from .determinism import FLOWS, ROOT, broken, differing, differing_steps


@pytest.mark.parametrize("op", PUBLIC)
def test_threads_and_repetitions(op: str) -> None:
    for size in calls.LARGE[PUBLIC[op].inputs.sizes]:
        for dtype in (torch.float32, torch.bfloat16):
            assert broken(calls.of_size(PUBLIC[op], size, dtype), repeats=1) == []


@pytest.mark.parametrize("name", FLOWS)
def test_training_steps(name: str) -> None:
    assert differing_steps(name, repeats=1) == []


@pytest.mark.parametrize("call", calls.shared(), ids=str)
def test_sums_over_all_rows(call: Call) -> None:
    assert differing(call, repeats=2) == []


@pytest.mark.parametrize("each", determinism.of_torch(), ids=lambda each: each.name)
def test_torchs_products_are_the_same_every_time(each: determinism.OfTorch) -> None:
    for count in (1, 2):
        assert each.differing(1, [count]) == []


def test_instruction_sets_and_processes() -> None:
    isas = determinism.instruction_sets()
    if isas == ["baseline"]:
        pytest.skip("this machine runs the baseline kernels only")
    results = {isa: determinism.results_on(isa, "float32") for isa in isas}
    for a, b in itertools.combinations(isas, 2):
        found = determinism.between(results[a], results[b])
        assert set(found) == set(PUBLIC)
        assert determinism.beyond(found, f"between {a} and {b}") == []


def test_other_bits_are_seen() -> None:
    by_threads = Call("none", "", lambda x: x * torch.get_num_threads(), (torch.ones(3),))
    assert len(differing(by_threads, repeats=1)) == 2
    drawn = Call("none", "", lambda x: x * torch.rand(3), (torch.ones(3),))
    assert len(differing(drawn, repeats=2)) == 6
    # torch may give a second derivative other bits with other threads, but not its own outputs.
    assert len(broken(replace(by_threads, op="none_backward"), repeats=1)) == 2
    assert len(broken(replace(drawn, op="none_backward"), repeats=1)) == 6


def test_wide_networks_are_known() -> None:
    header = (ROOT / "csrc" / "args" / "mlp.h").read_text()
    assert f"mlp_widest = {calls.WIDEST};" in header
    assert [c for c in calls.wide_networks() if not c.has_torch_products] == []
    assert [c for c in calls.small() if c.has_torch_products] == []


def test_ulps_are_those_of_the_largest_element() -> None:
    a = torch.tensor([1.0, 1e-3])
    b = a + torch.tensor([0.0, 4 * torch.finfo(torch.float32).eps])
    assert determinism.ulps(a, b) == pytest.approx(4, rel=1e-3)
    assert determinism.ulps(a, torch.tensor([1.0, float("nan")])) == float("inf")
    found = {"slerp": {torch.float32: 1e3}}
    assert "128 are stated" in determinism.beyond(found, "")[0]


def test_info_shows_what_is_forced() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "flowkernels", "info"],
        env={**os.environ, "COLUMNS": "200", "FLOWKERNELS_CPU_ISA": "baseline"},
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "compiled C++ (baseline, forced by FLOWKERNELS_CPU_ISA)" in run.stdout
    if not os.environ.get("FLOWKERNELS_CPU_ISA"):
        assert "forced" not in flowkernels.backends()["slerp"]["cpu"]

"""The short form of the campaign `sanitize`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu import compilation
from benchmarks.gpu.tree import ROOT

from . import sanitize
from .sanitize import build

FAULTS = """
#include <limits.h>
#include <thread>
int shared = 0;
int main(int count, char** arguments) {
  if (arguments[1][0] == 'a') {
    int* p = new int[4];
    delete[] p;
    return p[count];
  }
  if (arguments[1][0] == 'u') return (INT_MAX - 1 + count) == 0;
  std::thread other([] { ++shared; });
  ++shared;
  other.join();
  return 0;
}
"""


def _compiler_has(kind: str) -> None:
    if problem := sanitize.missing(kind):
        pytest.skip(problem)


@pytest.mark.parametrize(
    ("kind", "fault", "word"),
    [
        ("address,undefined", "a", "heap-use-after-free"),
        ("address,undefined", "u", "signed integer overflow"),
        ("thread", "t", "data race"),
    ],
)
def test_faults_are_seen(kind: str, fault: str, word: str, tmp_path: Path) -> None:
    """The flags of the build and the reading of reports find what is wrong."""
    _compiler_has(kind)
    source = tmp_path / "csrc" / "fault.cpp"
    source.parent.mkdir()
    source.write_text(FAULTS)
    flags = [*build.SANITIZERS[kind], *build.COMMON, "-pthread"]
    subprocess.run(["c++", *flags, str(source), "-o", str(tmp_path / "fault")], check=True)
    run = subprocess.run(
        ["setarch", "-R", str(tmp_path / "fault"), fault], capture_output=True, text=True
    )
    found = sanitize.reports(run.stderr)
    assert len(found) == 1, run.stderr
    assert word in found[0]


def test_reports_of_others_do_not_count() -> None:
    leak = "Direct leak of 8 byte(s) in 1 object(s) allocated from:\n #0 malloc\n #1 f {}\n"
    assert sanitize.reports(leak.format("(libtorch_cpu.so+0x1)")) == []
    assert len(sanitize.reports(leak.format("csrc/cpu/vmf.cpp:3"))) == 1


@pytest.mark.parametrize("kind", build.KINDS)
def test_kernels_compile(kind: str, tmp_path: Path) -> None:
    """One of them, which takes seconds; the campaign builds all."""
    _compiler_has(kind)
    (step,) = [s for s in build.steps(kind, "baseline") if s.name == "baseline/vmf_sample"]
    result = compilation.compile_one(step, tmp_path)
    assert not result.problem, result.problem
    assert result.path.exists()


def test_mathematics_without_undefined_behaviour(tmp_path: Path) -> None:
    """The elementary functions on bit patterns all over float32 and float64."""
    _compiler_has("address,undefined")
    program = tmp_path / "check"
    flags = [*build.SANITIZERS["address,undefined"], *build.COMMON]
    flags += ["-std=c++20", "-ffp-contract=fast", "-pthread"]
    source = ROOT / "tests/ops/elementary_check.cpp"
    subprocess.run(["c++", *flags, str(source), "-o", str(program)], check=True)
    run = subprocess.run(
        [str(program), "1000003"], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "UBSAN_OPTIONS": sanitize.OPTIONS["UBSAN_OPTIONS"]},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.count("\n") > 5

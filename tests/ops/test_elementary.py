"""Elementary functions keep their stated accuracy, and bfloat16 rounds, on every instruction set.

FLOWKERNELS_EXHAUSTIVE=1 checks all 2^32 float32 values (a core needs a quarter of an hour for
each instruction set).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STATED_ULPS = 2.0
QUICK_STRIDE = 7919  # prime: the low bits of the patterns vary
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
}


def _flags(isa: str) -> list[str]:
    if isa == "baseline":
        return []
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"{isa} is an x86-64 instruction set, this is {platform.machine()}")
    from flowkernels import _C

    best = ["baseline", "avx2", "avx512"].index(_C.build_info()["cpu_isa"])
    if list(FLAGS).index(isa) > best:
        pytest.skip(f"this processor has no {isa}")
    return FLAGS[isa]


def _run(source: str, isa: str, stride: int, folder: Path) -> str:
    compiler = os.environ.get("CXX", "c++")
    assert shutil.which(compiler.split()[0]), "the test-suite needs a C++ compiler"
    program = folder / source.split(".")[0]
    subprocess.run(
        [*compiler.split(), "-std=c++20", "-O2", "-fno-math-errno", "-fno-trapping-math",
         "-ffp-contract=fast", "-fwrapv", "-Wno-psabi", "-pthread", *_flags(isa),
         str(HERE / source), "-o", str(program)],
        check=True,
    )  # fmt: skip
    run = subprocess.run([str(program), str(stride)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def _measure(isa: str, stride: int, folder: Path) -> list[tuple[str, float, str]]:
    rows = [line.split() for line in _run("elementary_check.cpp", isa, stride, folder).splitlines()]
    return [(f"{name} {dtype}", float(error), where) for name, dtype, error, where in rows]


@pytest.mark.parametrize("isa", list(FLAGS))
def test_stated_accuracy(isa: str, tmp_path: Path) -> None:
    stride = 1 if os.environ.get("FLOWKERNELS_EXHAUSTIVE") == "1" else QUICK_STRIDE
    rows = _measure(isa, stride, tmp_path)
    assert len(rows) == 22
    worst = {name: (error, where) for name, error, where in rows if error > STATED_ULPS}
    assert not worst, f"above {STATED_ULPS} ulp: {worst}"


@pytest.mark.parametrize("isa", list(FLAGS))
def test_rounding_to_bfloat16(isa: str, tmp_path: Path) -> None:
    """By whole vectors as one by one, and by the processor's instruction where it has one."""
    stride = 1 if os.environ.get("FLOWKERNELS_EXHAUSTIVE") == "1" else QUICK_STRIDE
    assert _run("bfloat16_check.cpp", isa, stride, tmp_path).endswith("0 differences\n")

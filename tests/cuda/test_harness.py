"""Every CUDA kernel runs on the CPU, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import harness
from .kernels import ROOT, symbols

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        harness.missing() is not None, reason=f"no emulated kernels: {harness.missing()}"
    ),
]

OPS = " or ".join(binding.stem for binding in harness.BINDINGS)
# Poles, opposite points, lengths next to the ends of the range: the rare branches.
RARE = (
    "image_and_log_det or inverse_and_its or poles or nan_and_infinity or equal_points"
    " or opposite_points or length_0 or cosines_and_paths or precisions_share"
)
PARITY = f"(parity or strides or empty_batch or autocast or backward_refuses) and ({OPS})"
# test_bessel_functions has each of these functions in float32 and float64.
TWICE = "bessel and parity and not bfloat16"
SELECTED = f"layouts or bessel_functions or {RARE} or {PARITY} and not ({TWICE})"
FILES = [
    "tests/ops/test_promises.py",
    "tests/ops/test_slerp_accuracy.py",
    "tests/ops/test_stereographic_accuracy.py",
    "tests/ops/test_vmf_sample.py",
    "tests/cuda/test_layouts.py",
    "tests/cuda/test_bessel_functions.py",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The parity tests on the emulated kernels, and the list of those that ran."""
    ran = tmp_path_factory.mktemp("emulated") / "ran.txt"
    environment = harness.environment()
    environment["FLOWKERNELS_EMULATED"] = str(harness.build())
    environment["FLOWKERNELS_EMULATED_RAN"] = str(ran)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.cuda.emulated"]
    command += ["-p", "tests.ops.covering"]
    command += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys", "-k", SELECTED]
    command += FILES
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    return result, ran


def test_parity(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The tests of every op hold, and no sanitizer objects."""
    result, _ = run
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]


def test_every_kernel_ran(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """No kernel is left that only a GPU has to run."""
    _, ran = run
    assert ran.exists(), "the tests on the emulated kernels did not finish"
    kernels = set(symbols(harness.build()))
    assert kernels, "no kernel was found in the library"
    idle = kernels - set(ran.read_text().splitlines())
    assert not idle, f"{len(idle)} of {len(kernels)} kernels never ran: {sorted(idle)}"


BROKEN = """
#include "launch.h"
namespace fk::cuda {{
__global__ void broken(float* out) {{
  float* shared = reinterpret_cast<float*>(shared_memory());
  const int i = threadIdx.x;
  {body}
}}
extern "C" void launch_broken(float* out) {{
  launch<broken>(LaunchContext{{}}, 1, sizeof(float) * block_threads, out);
}}
}}
"""

CALL = """
import ctypes, sys
out = (ctypes.c_float * 64)()
ctypes.CDLL(sys.argv[1]).launch_broken(out)
sys.exit(0 if list(out) == [63.0 - i for i in range(64)] else 3)
"""


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("shared[i] = i; __syncthreads(); out[i] = shared[63 - i];", 0, ""),
        ("shared[i] = i; out[i] = shared[63 - i];", 3, ""),
        ("shared[i + 1] = i; __syncthreads(); out[i] = shared[i];", 1, "heap-buffer-overflow"),
        ("if (i < 3) __syncthreads(); out[i] = i;", -6, "threads have left while others wait"),
    ],
    ids=["sound", "missing barrier", "out of bounds", "divergent barrier"],
)
def test_the_harness_sees(body: str, code: int, says: str, tmp_path: Path) -> None:
    """What the emulator is there to find, it finds."""
    source, library = tmp_path / "broken.cu", tmp_path / "broken.so"
    source.write_text(BROKEN.format(body=body))
    harness.compile_kernel(source, library)
    result = subprocess.run(
        [sys.executable, "-c", CALL, str(library)],
        env=harness.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == code, result.stderr[-3000:]
    assert says in result.stderr

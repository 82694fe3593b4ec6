"""Every Triton kernel under Triton's interpreter, on the parity tests of all ops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: it has no wheels for this system")

ROOT = Path(__file__).parents[2]
PROMISES = "tests/ops/test_promises.py"
# What the sampler promises for each draw; a negative concentration, which only a CPU refuses, and
# laws over many draws are left to the compiled kernels.
SAMPLER = "paths_are or precisions or repeat_draws or narrow or extremes or vmap or one_graph"
RUNS = {
    "values": [PROMISES, "-k", "value_parity"],
    "gradients": [PROMISES, "-k", "gradient_parity"],
    "layouts": [PROMISES, "-k", "strides or empty or bad_input or backward_refuses"],
    "elementary": ["tests/triton/elementary_checks.py", "tests/triton/function_checks.py"],
    "copies": ["tests/triton/drift_checks.py"],
    "lengths": ["tests/ops/test_stereographic_accuracy.py", "-k", "direction_alone"],
    "random numbers": ["tests/triton/random_checks.py"],
    "sampler": ["tests/ops/test_vmf_sample.py", "-k", SAMPLER],
}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_interpreted(run: str) -> None:
    environment = {
        **os.environ,
        "FLOWKERNELS_BACKEND": "triton",
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.triton.interpreter", *RUNS[run]]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=ROOT, timeout=900
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout

"""On a device without kernels the formulas serve, with a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flowkernels.ops._declaration import OPS

ROOT = Path(__file__).parents[2]


def test_checks_on_the_device_of_a_plug_in() -> None:
    if not hasattr(torch._C, "_acc"):
        pytest.skip(f"torch {torch.__version__} has no devices in Python")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         "--tb=short", "tests/deployment/other_devices_checks.py"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-1000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed, ran.stdout
    assert int(passed[1]) >= 31, ran.stdout


@pytest.mark.parametrize("device", ["MPS", "XPU", "PrivateUse1", "CUDA"])
def test_every_op_is_served_on(device: str) -> None:
    has = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    for name, op in OPS.items():
        for each in (name, f"{name}_backward") if op.backward else (name,):
            assert has(f"flowkernels::{each}", device), each

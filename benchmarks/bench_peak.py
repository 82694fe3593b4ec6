"""Peak memory of a training step with 4 and 32 Glow steps, activations stored and recomputed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from .peak import WAYS

STEPS = (4, 32)


@pytest.mark.parametrize("way", WAYS)
def test_peak(benchmark: Any, way: str) -> None:
    """Measure each in a separate process; the time is not used."""

    def grown(steps: int) -> float:
        command = [sys.executable, "-m", "benchmarks.peak", str(steps), way]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        measured = json.loads(said)
        return float(measured["peak"] - measured["before"])

    few, many = benchmark.pedantic(lambda: [grown(steps) for steps in STEPS], rounds=1)
    benchmark.extra_info |= {
        "kind": "peak",
        "way": way,
        "mebibytes": dict(zip(STEPS, (few, many), strict=True)),
    }

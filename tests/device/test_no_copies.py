"""No step synchronises host and device or copies between them; checked without a GPU."""

from __future__ import annotations

import re

import pytest

from .stand_in import missing, run_pytest

CHECKS = {
    "ops": "op_checks",
    "flows": "flow_checks",
    "bijections": "bijection_checks",
    "contexts": "context_checks",
    "triton": "triton_checks",
}
# The least number of tests that must pass, so that an empty collection is an error.
LEAST = {"ops": 130, "flows": 200, "bijections": 40, "contexts": 30, "triton": 20}


@pytest.mark.slow
@pytest.mark.parametrize("checks", CHECKS)
def test_no_copies(checks: str) -> None:
    if problem := missing():
        pytest.skip(problem)
    if checks == "triton":
        pytest.importorskip("triton", reason="Triton is not installed")
    result = run_pytest(f"tests/device/{CHECKS[checks]}.py", "-ra", "--tb=short")
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed, result.stdout
    assert int(passed[1]) >= LEAST[checks], result.stdout
    assert "skipped" not in result.stdout, result.stdout

"""A pytest plugin: the tests of all ops on the device of FLOWKERNELS_TEST_DEVICE.

    FLOWKERNELS_TEST_DEVICE=cuda python -m pytest -p tests.cuda.on_device -k ... tests/ops/...

Samples are made on the CPU, so that they are the same everywhere, and then moved. Where
FLOWKERNELS_TEST_LINES names a file, every test that ends adds a line of JSON to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.ops.case import Case, Sample, Trial

DEVICE = os.environ.get("FLOWKERNELS_TEST_DEVICE", "cpu")


def pytest_report_header() -> str:
    """Which device and which kernels the tests are of."""
    from flowkernels import backends

    name = torch.cuda.get_device_name() if DEVICE.startswith("cuda") else "the CPU"
    return f"on {name}: {backends()['slerp']}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes how a test ended, in the process that collects all reports."""
    path = os.environ.get("FLOWKERNELS_TEST_LINES")
    if not path or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.when != "call" and report.outcome == "passed":
        return
    facts = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        facts["error"] = (crash.message if crash else str(report.longrepr))[:1000]
    with Path(path).open("a") as file:
        file.write(json.dumps(facts) + "\n")


def _moved(samples: Callable[[], list[Sample]]) -> Callable[[], list[Sample]]:
    return lambda: [s.on(DEVICE) for s in samples()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the samples of every case, and every sample of the checker, to the device."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None:
            continue
        trial, case = (callspec.params.get(name) for name in ("trial", "case"))
        if isinstance(trial, Trial):
            callspec.params["trial"] = replace(trial, sample=trial.sample.on(DEVICE))
        if not isinstance(case, Case):
            continue
        callspec.params["case"] = replace(
            case,
            samples=_moved(case.samples),
            small=_moved(case.small),
            empty=_moved(case.empty),
        )

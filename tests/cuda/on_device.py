"""A pytest plugin: the tests of all ops on the device of FLOWKERNELS_TEST_DEVICE.

    FLOWKERNELS_TEST_DEVICE=cuda python -m pytest -p tests.cuda.on_device -k ... tests/ops/...

Samples are made on the CPU, so that they are the same everywhere, and then moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.ops.case import Case, Sample

DEVICE = os.environ.get("FLOWKERNELS_TEST_DEVICE", "cpu")


def pytest_report_header() -> str:
    """Which device and which kernels the tests are of."""
    from flowkernels import backends

    name = torch.cuda.get_device_name() if DEVICE.startswith("cuda") else "the CPU"
    return f"on {name}: {backends()['slerp']}"


def _moved(samples: Callable[[], list[Sample]]) -> Callable[[], list[Sample]]:
    return lambda: [s.on(DEVICE) for s in samples()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives every case samples on the device."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or not isinstance(callspec.params.get("case"), Case):
            continue
        case = callspec.params["case"]
        callspec.params["case"] = replace(
            case,
            samples=_moved(case.samples),
            small=_moved(case.small),
            empty=_moved(case.empty),
        )

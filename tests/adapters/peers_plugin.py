"""A pytest plugin for `tests.adapters.peers`: seeds tests, patches a library, writes what ran.

FLOWKERNELS_PEER_PATCH names the library to patch, FLOWKERNELS_PEER_RESULT the file to write.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

OUTCOMES: dict[str, str] = {}


def pytest_configure(config: Any) -> None:
    library: Any = os.environ.get("FLOWKERNELS_PEER_PATCH")
    if library:
        from flowkernels import adapters

        adapters.patch(library).install()
        adapters.report().reset()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    import numpy

    torch.manual_seed(0)
    numpy.random.seed(0)  # noqa: NPY002  # the generator that the libraries' tests use


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" or report.outcome != "passed":
        # A test with a failed subtest has failed.
        before = OUTCOMES.get(report.nodeid)
        OUTCOMES[report.nodeid] = (
            "failed" if "failed" in (before, report.outcome) else report.outcome
        )


def pytest_sessionfinish() -> None:
    calls: dict[str, Any] = {}
    if os.environ.get("FLOWKERNELS_PEER_PATCH"):
        from flowkernels import adapters

        calls = {
            name: {"served": record.served, "left": dict(record.left)}
            for name, record in adapters.report().records.items()
        }
    result = {"outcomes": OUTCOMES, "calls": calls}
    Path(os.environ["FLOWKERNELS_PEER_RESULT"]).write_text(json.dumps(result))

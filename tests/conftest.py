"""What every test runs under."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """The same random numbers whatever the selection and order of tests."""
    torch.manual_seed(0)
    yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> Iterator[None]:
    """Workers share the cores; tests of several threads set the number themselves."""
    torch.set_num_threads(1)
    yield

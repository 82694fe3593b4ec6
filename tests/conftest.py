"""Fixtures of all tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    """The same random numbers for every selection and order of tests."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> None:
    """Workers share the cores; tests with several threads set the number themselves."""
    torch.set_num_threads(1)

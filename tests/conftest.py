"""Fixtures of all tests."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Distribution


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    """The same random numbers for every selection and order of tests."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _distributions_check_their_arguments() -> None:
    """As torch's do; zuko, where some test has imported it, turns this off for all of them."""
    Distribution.set_default_validate_args(True)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> None:
    """Workers share the cores; tests with several threads set the number themselves."""
    torch.set_num_threads(1)

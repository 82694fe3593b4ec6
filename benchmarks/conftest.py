"""Options and the plumbing between pytest-benchmark and the report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .contest import CLOCKS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --full and --clock."""
    parser.addoption("--full", action="store_true", help="every size, dtype and thread count")
    parser.addoption("--clock", choices=list(CLOCKS), default="wall", help="see contest.py")


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads that a benchmark changes."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)

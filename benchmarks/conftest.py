"""Command-line options and fixtures of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .interleaved import CLOCKS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full and --clock."""
    parser.addoption("--full", action="store_true", help="every size, dtype and thread count")
    parser.addoption("--clock", choices=list(CLOCKS), default="wall", help="see interleaved.py")


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads after a benchmark."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)

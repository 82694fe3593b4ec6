"""The short form of the campaign `threads`."""

from __future__ import annotations

import pytest

from . import threads
from .threads import attempt


@pytest.mark.parametrize(
    "scenario",
    [
        ("python_threads", "8", "1"),
        ("first_calls_together",),
        ("after_fork",),
        ("data_loader", "fork"),
        ("pool", "forkserver"),
    ],
    ids=" ".join,
)
def test_scenario(scenario: tuple[str, ...]) -> None:
    assert attempt(*scenario, seconds=120) is None


@pytest.mark.parametrize("other", threads.OTHERS)
def test_beside_other_users_of_openmp(other: str) -> None:
    if other in threads.missing():
        pytest.skip(f"{other} is not installed")
    assert attempt("imports", other, threads.OWN, seconds=120) is None
    assert attempt("imports", threads.OWN, other, seconds=120) is None


def test_other_bits_and_hangs_are_seen() -> None:
    with pytest.raises(AssertionError, match="the child: other bits"):
        threads._expect([b"1"], [b"2"], "the child")
    assert "KeyError" in str(attempt("no_scenario"))
    assert "no end within 0.1 s" in str(attempt("after_fork", seconds=0.1))

"""Training steps compared with those of other implementations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .interleaved import Block, Peers, compare
from .registry import every_core
from .steps import PEERS, StepComparison, have, step_comparisons

ROUNDS = 21


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One thread and all of them; process time is meaningful for one thread only."""
    counts = {1} if metafunc.config.getoption("clock") == "cpu" else {1, every_core()}
    metafunc.parametrize("threads_used", sorted(counts))
    found = step_comparisons()
    metafunc.parametrize("comparison", found, ids=[c.name.replace(" ", "_") for c in found])


@pytest.mark.usefixtures("threads")
def test_step(
    benchmark: Any, comparison: StepComparison, threads_used: int, pytestconfig: pytest.Config
) -> None:
    """Time a step of ours between its peers."""
    torch.set_num_threads(threads_used)
    torch.manual_seed(0)
    ours = Block.of(comparison.ours())
    peers = Peers(
        {n: make() for n, make in comparison.peers.items()}, pytestconfig.getoption("clock")
    )
    benchmark.group = "steps"
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS, warmup_rounds=2)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    facts = compare(seconds, peers.seconds).facts()
    benchmark.extra_info |= facts | {
        "kind": "step",
        "step": comparison.name,
        "threads": threads_used,
        "missing": [p for p in PEERS if not have(p)],
    }

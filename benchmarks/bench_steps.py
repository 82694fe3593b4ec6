"""Training steps side by side."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .contest import Block, Peers, verdict
from .registry import every_core
from .steps import PEERS, Contest, contests, have

ROUNDS = 21


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One thread and all of them; process time means something on one only."""
    counts = {1} if metafunc.config.getoption("clock") == "cpu" else {1, every_core()}
    metafunc.parametrize("threads_used", sorted(counts))
    found = contests()
    metafunc.parametrize("contest", found, ids=[c.name.replace(" ", "_") for c in found])


@pytest.mark.usefixtures("threads")
def test_step(
    benchmark: Any, contest: Contest, threads_used: int, pytestconfig: pytest.Config
) -> None:
    """Times a step of ours between those beside it."""
    torch.set_num_threads(threads_used)
    torch.manual_seed(0)
    ours = Block.of(contest.ours())
    peers = Peers(
        {n: make() for n, make in contest.beside.items()}, pytestconfig.getoption("clock")
    )
    benchmark.group = "steps"
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS, warmup_rounds=2)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    facts = verdict(seconds, peers.seconds).facts()
    benchmark.extra_info |= facts | {
        "kind": "step",
        "step": contest.name,
        "threads": threads_used,
        "missing": [p for p in PEERS if not have(p)],
    }

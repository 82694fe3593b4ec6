"""Every op beside plain torch: one benchmark per row of the registry."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from . import contestants, parity
from .contest import Block, Peers, verdict
from .registry import Row, rows

ROUNDS = {True: 101, False: 41}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The rows, named so that -k finds them."""
    config = metafunc.config
    chosen = rows(config.getoption("full"))
    if config.getoption("clock") == "cpu":
        chosen = [row for row in chosen if row.threads == 1]
    metafunc.parametrize("row", chosen, ids=[row.label for row in chosen])


@pytest.mark.usefixtures("threads")
def test_op(benchmark: Any, row: Row, pytestconfig: pytest.Config) -> None:
    """Times the op between its peers; fails, and reports nothing, where results differ."""
    full = pytestconfig.getoption("full")
    torch.set_num_threads(row.threads)
    tensors = row.tensors()
    parity.check(row, tensors)
    ours = Block.of(contestants.ours(row, tensors))
    peers = Peers(contestants.peers(row, tensors, full=full), pytestconfig.getoption("clock"))
    benchmark.group = row.subject.op
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS[full], warmup_rounds=1)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    benchmark.extra_info |= row.facts() | verdict(seconds, peers.seconds).facts()
    benchmark.extra_info |= {"kind": "op", "calls_per_round": ours.calls}

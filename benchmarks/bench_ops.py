"""Every op compared with plain torch: one benchmark per row of the registry."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from . import implementations, parity
from .interleaved import Block, Peers, compare
from .registry import Row, rows

ROUNDS = {True: 101, False: 41}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The rows, with labels as test ids for -k."""
    config = metafunc.config
    chosen = rows(config.getoption("full"))
    if config.getoption("clock") == "cpu":
        chosen = [row for row in chosen if row.threads == 1]
    metafunc.parametrize("row", chosen, ids=[row.label for row in chosen])


@pytest.mark.usefixtures("threads")
def test_op(benchmark: Any, row: Row, pytestconfig: pytest.Config) -> None:
    """Time the op between its peers; fail without a time if results differ."""
    full = pytestconfig.getoption("full")
    torch.set_num_threads(row.threads)
    tensors = row.tensors()
    parity.check(row, tensors)
    ours = Block.of(implementations.ours(row, tensors))
    peers = Peers(implementations.peers(row, tensors, full=full), pytestconfig.getoption("clock"))
    benchmark.group = row.subject.op
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS[full], warmup_rounds=1)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    benchmark.extra_info |= row.facts() | compare(seconds, peers.seconds).facts()
    benchmark.extra_info |= {"kind": "op", "calls_per_round": ours.calls}

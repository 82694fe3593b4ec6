"""The coupling beside a copy of the bytes that it has to move."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from . import contestants, parity
from .contest import Block, Peers, verdict
from .registry import DIRECTIONS, LARGE, SUBJECTS, Row, every_core

ROUNDS = 61
# Tensors of x's size read or written: x, shift, raw in and y out; then, backward, grad_y,
# x, raw in and grad_x, grad_shift, grad_raw out.
TRAFFIC = {"forward": 4, "forward+backward": 10}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One thread and all of them; process time means something on one only."""
    counts = {1} if metafunc.config.getoption("clock") == "cpu" else {1, every_core()}
    metafunc.parametrize("threads_used", sorted(counts))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_coupling_beside_copy(
    benchmark: Any, direction: str, threads_used: int, pytestconfig: pytest.Config
) -> None:
    """Times both in turn; the copy's destination is memory already in use."""
    torch.set_num_threads(threads_used)
    coupling = next(s for s in SUBJECTS if s.op == "affine_coupling")
    row = Row(coupling, LARGE, "float32", direction, threads_used)
    tensors = row.tensors()
    parity.check(row, tensors)
    source = torch.randn(TRAFFIC[direction] // 2 * tensors[0].numel())
    destination = torch.empty_like(source)
    ours = Block.of(contestants.ours(row, tensors))
    peers = Peers({"copy": lambda: destination.copy_(source)}, pytestconfig.getoption("clock"))
    benchmark.group = "memory"
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS, warmup_rounds=2)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    benchmark.extra_info |= row.facts() | verdict(seconds, peers.seconds).facts()
    benchmark.extra_info |= {"kind": "memory", "bytes": 2 * source.numel() * source.itemsize}

"""Ops compared with a copy of the bytes that they must move, the memory bound."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from . import implementations, parity
from .interleaved import Block, Peers, compare
from .registry import DIRECTIONS, LARGE, SUBJECTS, Row, Size, every_core

ROUNDS = 61
# Number of tensors, of the size of the first argument, that each op reads or writes. A coupling
# reads x, shift, raw and writes y; its backward reads grad_y, x, raw and writes grad_x, grad_shift,
# grad_raw.
TRAFFIC = {
    "affine_coupling": {"forward": 4, "forward+backward": 10},
    "stereographic": {"forward": 2, "forward+backward": 5},
    "stereographic_inverse": {"forward": 2, "forward+backward": 5},
    "slerp": {"forward": 3, "forward+backward": 8},
}
SIZES: tuple[Size, ...] = ((256, 3072), (64, 6, 64, 64), LARGE)
CASES = [(op, size) for op in TRAFFIC for size in SIZES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One thread and all of them; process time is meaningful for one thread only."""
    counts = {1} if metafunc.config.getoption("clock") == "cpu" else {1, every_core()}
    metafunc.parametrize("threads_used", sorted(counts))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("op", "size"), CASES, ids=str)
def test_beside_copy(
    benchmark: Any,
    op: str,
    size: Size,
    direction: str,
    threads_used: int,
    pytestconfig: pytest.Config,
) -> None:
    """Time the op and the copy in turn; the copy's destination is already allocated."""
    torch.set_num_threads(threads_used)
    subject = next(s for s in SUBJECTS if s.op == op)
    row = Row(subject, size, "float32", direction, threads_used)
    tensors = row.tensors()
    parity.check(row, tensors)
    source = torch.randn(TRAFFIC[op][direction] * tensors[0].numel() // 2)
    destination = torch.empty_like(source)
    ours = Block.of(implementations.ours(row, tensors))
    peers = Peers({"copy": lambda: destination.copy_(source)}, pytestconfig.getoption("clock"))
    benchmark.group = "memory"
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS, warmup_rounds=2)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    benchmark.extra_info |= row.facts() | compare(seconds, peers.seconds).facts()
    benchmark.extra_info |= {"kind": "memory", "bytes": 2 * source.numel() * source.itemsize}

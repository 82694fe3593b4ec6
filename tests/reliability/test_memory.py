"""The short form of the campaign `memory`: every op in one process, a flow in another."""

from __future__ import annotations

import pytest
import torch

from flowkernels.ops._declaration import PUBLIC

from . import calls, memory


def test_ops_together() -> None:
    """Turns of all ops: what any of them leaks in a call shows as bytes a turn."""
    torch.set_num_threads(1)
    each = [call.prepared() for call in calls.small()]
    assert len(each) == len(PUBLIC)
    # The allocator may take a page late, but a leak goes on.
    for _ in range(5):
        growth = memory.measure("all ops", lambda: [call() for call in each], 1024)
        if growth.bytes_a_call < memory.BYTES_A_CALL:
            return
    pytest.fail(str(growth))


def test_growth_is_seen() -> None:
    kept: list[bytes] = []
    growth = memory.measure("a leak", lambda: kept.append(bytes(64)), 200_000)
    assert 64 < growth.bytes_a_call < 160
    assert "a leak: memory grows" in memory.finding(growth, memory.BYTES_A_CALL)[0]


def test_training() -> None:
    growth = memory.in_a_process("training", "realnvp, vmf", 640, seconds=120)
    assert growth.bytes_a_call < 1_000, growth


def test_a_line_is_fitted() -> None:
    readings = [5000 + 30 * i for i in range(memory.READINGS + 1)]
    assert memory.slope(readings, memory.READINGS * 10) == pytest.approx(3)

"""Interleaved timing: every round times all implementations, one after the other.

On a shared machine speeds drift by tens of percent within seconds. Therefore all
implementations are timed close together, in many short rounds. Reported are the ratio of the
medians and the quartiles of the per-round ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[], object]
# The length of a block, the calls of one implementation in a round: many calls or one long one.
# Much shorter than a scheduler's time slice, so that other processes interrupt few blocks.
BLOCK_SECONDS = 0.0005
# A peer this much slower than the fastest one after the trial rounds is dropped: some formulas
# take seconds per call.
DROP_RATIO, TRIAL_ROUNDS = 3.0, 5

# cpu: process time, for machines with other work. For one thread it equals the wall time on an
# idle machine; for several threads it does not measure speed.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def calls_in(seconds: float, call: Call) -> int:
    """The number of calls that fill a block."""
    start = time.perf_counter()
    call()
    if time.perf_counter() - start > 100 * seconds:  # even if that was a slow first call
        call()
        return 1
    for _ in range(2):
        call()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return max(1, round(seconds / best))


@dataclass
class Block:
    """Several calls of one implementation that are timed together."""

    call: Call
    calls: int

    @classmethod
    def of(cls, call: Call, seconds: float = BLOCK_SECONDS) -> Block:
        """A block of about `seconds`."""
        return cls(call, calls_in(seconds, call))

    def __call__(self) -> None:
        call = self.call
        for _ in range(self.calls):
            call()


def interleave(
    calls: dict[str, Call], rounds: int, clock: str = "wall", block_seconds: float = BLOCK_SECONDS
) -> dict[str, list[float]]:
    """Seconds of a call in each round; a round times a block of every implementation."""
    blocks = {name: Block.of(call, block_seconds) for name, call in calls.items()}
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name, block in blocks.items():
            start = now()
            block()
            seconds[name].append((now() - start) / block.calls)
    return seconds


class Peers:
    """The implementations that ours is compared with; calling it times one block of each.

    It is the setup function of pytest-benchmark, which times ours: so the peers run between
    our rounds.
    """

    def __init__(self, calls: dict[str, Call], clock: str = "wall") -> None:
        self.clock = CLOCKS[clock]
        self.blocks = {name: Block.of(call) for name, call in calls.items()}
        self.seconds: dict[str, list[float]] = {name: [] for name in calls}
        self._order = list(calls)

    def __call__(self) -> None:
        # Rotate, so that no peer always runs after the same one, whose data are in the cache.
        self._order.append(self._order.pop(0))
        for name in self._order:
            block = self.blocks[name]
            start = self.clock()
            block()
            self.seconds[name].append((self.clock() - start) / block.calls)
        if all(len(times) == TRIAL_ROUNDS for times in self.seconds.values()):
            best = {name: min(times) for name, times in self.seconds.items()}
            self._order = [n for n in self._order if best[n] < DROP_RATIO * min(best.values())]


@dataclass(frozen=True)
class Comparison:
    """Medians in microseconds per call, and the ratio of the fastest peer to ours."""

    microseconds: dict[str, float]
    fastest: str
    ratio: float  # fastest / ours: above 1, ours is faster
    low: float  # quartiles of the per-round ratios
    high: float

    def facts(self) -> dict[str, Any]:
        """For a table or JSON."""
        return {
            "microseconds": {k: round(v, 3) for k, v in self.microseconds.items()},
            "fastest_peer": self.fastest,
            "ratio": round(self.ratio, 3),
            "ratio_quartiles": [round(self.low, 3), round(self.high, 3)],
        }


def compare(ours: list[float], peers: dict[str, list[float]]) -> Comparison:
    """Compare interleaved rounds."""
    medians = {name: statistics.median(times) for name, times in peers.items()}
    fastest = min(medians, key=medians.__getitem__)
    ratios = [b / a for a, b in zip(ours, peers[fastest][-len(ours) :], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = medians[fastest] / statistics.median(ours)
    everyone = {"flowkernels": statistics.median(ours), **medians}
    return Comparison(
        {name: 1e6 * seconds for name, seconds in everyone.items()}, fastest, ratio, low, high
    )

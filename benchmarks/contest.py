"""Interleaved timing: every round times all contestants, one after the other.

On a shared machine the speed of everything drifts by tens of percent within
seconds.  Contestants are therefore neighbours in time, and what is reported is the
ratio of their medians over many short rounds, with the spread of the rounds' own ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[], object]
# One contestant's share of a round: many calls, or one long one.  Far below a scheduler's
# time slice, so that other processes interrupt few blocks and the medians stay clear of them.
BLOCK_SECONDS = 0.0005
# A contestant this much slower than the fastest peer after these rounds can no longer be the
# fastest and drops out: some formulas take seconds a call.
HOPELESS, TRIAL_ROUNDS = 3.0, 5

# cpu: the time of the process, for machines with other work.  On one thread it is the
# wall time of an idle machine; on several it is no measure of speed.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def calls_in(seconds: float, call: Call) -> int:
    """How many calls fill a block."""
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
    """Several calls of one contestant, timed together."""

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


class Peers:
    """The contestants beside ours; a call of it times one block of each.

    Given to pytest-benchmark as the setup of a round, so that ours, which
    pytest-benchmark times itself, has them as neighbours in time.
    """

    def __init__(self, calls: dict[str, Call], clock: str = "wall") -> None:
        self.clock = CLOCKS[clock]
        self.blocks = {name: Block.of(call) for name, call in calls.items()}
        self.seconds: dict[str, list[float]] = {name: [] for name in calls}
        self._order = list(calls)

    def __call__(self) -> None:
        # Nobody runs after the same predecessor, whose data are in the cache, each time.
        self._order.append(self._order.pop(0))
        for name in self._order:
            block = self.blocks[name]
            start = self.clock()
            block()
            self.seconds[name].append((self.clock() - start) / block.calls)
        if all(len(times) == TRIAL_ROUNDS for times in self.seconds.values()):
            best = {name: min(times) for name, times in self.seconds.items()}
            self._order = [n for n in self._order if best[n] < HOPELESS * min(best.values())]


@dataclass(frozen=True)
class Verdict:
    """Medians in microseconds a call, and how the fastest peer compares with ours."""

    microseconds: dict[str, float]
    fastest: str
    ratio: float  # fastest / ours: above 1, ours is faster
    low: float  # quartiles of the same, round by round
    high: float

    def facts(self) -> dict[str, Any]:
        """For a table or JSON."""
        return {
            "microseconds": {k: round(v, 3) for k, v in self.microseconds.items()},
            "fastest_peer": self.fastest,
            "ratio": round(self.ratio, 3),
            "ratio_quartiles": [round(self.low, 3), round(self.high, 3)],
        }


def verdict(ours: list[float], peers: dict[str, list[float]]) -> Verdict:
    """Judges rounds that were timed side by side."""
    medians = {name: statistics.median(times) for name, times in peers.items()}
    fastest = min(medians, key=medians.__getitem__)
    ratios = [b / a for a, b in zip(ours, peers[fastest][-len(ours) :], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = medians[fastest] / statistics.median(ours)
    everyone = {"flowkernels": statistics.median(ours), **medians}
    return Verdict(
        {name: 1e6 * seconds for name, seconds in everyone.items()}, fastest, ratio, low, high
    )

"""Times calls on a GPU by CUDA events, directly and in a CUDA graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Call = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How long to time one row."""

    repeats: int = 21
    repeat_seconds: float = 0.002  # length of the calls between two events
    row_seconds: float = 0.35


class Bench:
    """Times calls in turn on separate inputs, so that no input is in the L2 cache.

    The results of one turn through all inputs are kept alive: reused output memory would stay in
    the cache too.
    """

    def __init__(self, device: str, effort: Effort) -> None:
        self.on_gpu = device.startswith("cuda")
        self.effort = effort

    def seconds(self, calls: Sequence[Call]) -> float:
        """Median time of one call, launches included."""
        kept: list[object] = [None] * len(calls)

        def turns(count: int) -> None:
            for _ in range(count):
                for i, call in enumerate(calls):
                    kept[i] = call()

        turns(2)
        once = self._once(turns, 1)
        per_repeat = max(1, round(self.effort.repeat_seconds / once))
        repeats = int(self.effort.row_seconds / (once * per_repeat))
        repeats = max(3, min(self.effort.repeats, repeats))
        times = [self._once(turns, per_repeat) for _ in range(repeats)]
        return statistics.median(times) / (per_repeat * len(calls))

    def graph_seconds(self, calls: Sequence[Call]) -> float:
        """Median time of one call in a CUDA graph, without launches from the host.

        The current stream must not be the default stream, which cannot be captured.
        """
        count = max(len(calls), 8 if self._once(lambda n: calls[0](), 1) < 1e-3 else 2)
        # On the current stream: a backward runs where its forward ran.
        stream = torch.cuda.current_stream()
        for call in calls:
            call()
        graph = torch.cuda.CUDAGraph()
        kept = []
        with torch.cuda.graph(graph, stream=stream):
            for i in range(count):
                kept.append(calls[i % len(calls)]())
        graph.replay()
        once = self._once(lambda n: graph.replay(), 1)
        repeats = max(3, min(self.effort.repeats, int(self.effort.row_seconds / once)))
        times = [self._once(lambda n: graph.replay(), 1) for _ in range(repeats)]
        return statistics.median(times) / count

    def _once(self, body: Callable[[int], object], count: int) -> float:
        if not self.on_gpu:
            start = time.perf_counter()
            body(count)
            return max(time.perf_counter() - start, 1e-9)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        body(count)
        end.record()
        end.synchronize()
        return max(begin.elapsed_time(end) / 1e3, 1e-9)


def short(error: BaseException) -> str:
    """An error in the results: its type and the beginning of its message."""
    return f"{type(error).__name__}: {error}"[:300]


def spin(seconds: float) -> None:
    """Keep the GPU busy until it has reached its clocks."""
    x = torch.randn(4096, 4096, device="cuda")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(8):
            x = (x @ x).tanh()
        torch.cuda.synchronize()


def host_seconds(calls: Sequence[Call], count: int = 50) -> float:
    """Time of a call on the host: until the next call can be made."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for i in range(count):
        calls[i % len(calls)]()
    taken = time.perf_counter() - start
    torch.cuda.synchronize()
    return taken / count


def l2_bytes() -> int:
    """The L2 cache size of the current GPU; that of an H100 if torch does not report it."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return int(getattr(properties, "L2_cache_size", 50 * 2**20))


def turns_for(total_bytes: int, cache: int, most: int = 32) -> int:
    """The number of input sets that fill the cache several times.

    Inputs of which `most` sets do not fill it are in the cache in any case.
    """
    if total_bytes * most < cache:
        return 2
    return max(1, min(most, -(-4 * cache // max(total_bytes, 1))))


def copy_gigabytes(bench: Bench, device: str, megabytes: int) -> float:
    """Speed of a device-to-device copy, bytes read and written together."""
    source = torch.empty(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = bench.seconds([lambda: target.copy_(source)])
    return 2 * source.numel() / seconds / 1e9

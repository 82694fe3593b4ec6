"""Times one implementation and writes one JSON line per row immediately.

    python -m benchmarks.gpu.worker --implementation cuda --lines rows.jsonl --seconds 60

Implementations: cuda and triton (ours, selected by FLOWKERNELS_BACKEND), eager and compiled
(plain torch, ../plain.py). `--glow NAMES` times the training steps of a Glow (glow_step.py),
before the rows or, with `--glow-last`, after them. `--warm` calls everything once without timing,
to fill the compilers' caches.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from ..registry import Row
from ..steps import have
from . import call, glow_step
from .rows import rows, tensors_on
from .timing import Bench, Effort, copy_gigabytes, host_seconds, l2_bytes, short, spin, turns_for

SETTLE_SECONDS = 0.5  # until the GPU has reached its clocks


def _is_lost(error: BaseException) -> bool:
    """Whether the error makes the GPU unusable in this process."""
    text = str(error)
    return "CUDA error" in text and "out of memory" not in text


def time_row(
    row: Row, implementation: str, device: str, bench: Bench, copy: float
) -> dict[str, Any]:
    """Microseconds, GB/s and the fraction of a copy's speed; wrong results are not timed."""
    function = call.function_of(row, implementation, device)
    first = tensors_on(row, device)
    if implementation in call.OURS and (wrong := call.problem(row, function, first, device)):
        return {"not_timed": f"wrong results: {wrong}"}
    turns = turns_for(call.bytes_of(first), l2_bytes()) if bench.on_gpu else 2
    inputs = [first, *(tuple(t.clone() for t in first) for _ in range(turns - 1))]
    made = call.calls_of(row, function, inputs)
    facts: dict[str, Any] = {"us": 1e6 * bench.seconds(made.calls), "bytes": made.moved}
    best = facts["us"]
    if bench.on_gpu:
        facts["host_us"] = 1e6 * host_seconds(made.calls)
        try:
            facts["graph_us"] = 1e6 * bench.graph_seconds(made.calls)
            best = min(best, facts["graph_us"])
        except Exception as error:
            if _is_lost(error):
                raise
            facts["no_graph"] = short(error)
    facts["gigabytes_per_second"] = made.moved / best / 1e3
    facts["fraction_of_copy"] = facts["gigabytes_per_second"] / copy
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in facts.items()}


def warm_row(row: Row, implementation: str, device: str) -> dict[str, Any]:
    """Call a row once."""
    function = call.function_of(row, implementation, device)
    inputs = tensors_on(row, device)
    call.calls_of(row, function, [inputs]).calls[0]()
    return {"warm": True}


class Worker:
    """Times rows and training steps in one process until its time is over."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.end = time.monotonic() + chosen.seconds
        effort = Effort(3, 1e-4, 0.01) if chosen.tiny else Effort()
        self.bench = Bench(chosen.device, effort)
        self.file = chosen.lines.open("w")

    def write(self, implementation: str, facts: dict[str, Any]) -> None:
        """Write a line."""
        self.file.write(json.dumps({"implementation": implementation, **facts}) + "\n")
        self.file.flush()
        print(implementation, json.dumps(facts), flush=True)

    def glow(self) -> None:
        """Time the requested training steps."""
        for name in self.chosen.glow:
            facts: dict[str, Any] = dict(glow_step.FACTS)
            if time.monotonic() > self.end:
                facts["not_timed"] = "out of time"
            elif name == "normflows" and not have("normflows"):
                facts["not_timed"] = "normflows is not installed"
            else:
                try:
                    facts |= glow_step.timed(name, self.chosen.device, self.bench)
                except Exception as error:
                    facts["not_timed"] = short(error)
                    if _is_lost(error):
                        self.write(name, facts)
                        raise
            self.write(name, facts)

    def rows(self) -> None:
        """Time the rows of the implementation."""
        chosen, name = self.chosen, self.chosen.implementation
        copy = 1.0
        if not chosen.warm:
            if self.bench.on_gpu:
                spin(SETTLE_SECONDS)
            copy = copy_gigabytes(self.bench, chosen.device, 4 if chosen.tiny else 256)
            self.write(name, {"copy_gigabytes_per_second": round(copy, 1)})
        for row, note in rows(tiny=chosen.tiny, ranks=chosen.ranks, ops=chosen.ops):
            facts = {k: v for k, v in row.facts().items() if k not in ("threads", "device")}
            facts |= {"note": note} if note else {}
            if time.monotonic() > self.end:
                self.write(name, {**facts, "not_timed": "out of time"})
                continue
            try:
                if chosen.warm:
                    timed = warm_row(row, name, chosen.device)
                else:
                    timed = time_row(row, name, chosen.device, self.bench, copy)
            except Exception as error:
                self.write(name, {**facts, "not_timed": short(error)})
                if _is_lost(error):
                    raise
                continue
            self.write(name, {**facts, **timed})


def main() -> None:
    """Time the requested rows and steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--implementation", choices=("cuda", "triton", "eager", "compiled"))
    parser.add_argument("--glow", nargs="*", choices=glow_step.IMPLEMENTATIONS, default=[])
    parser.add_argument("--glow-last", action="store_true")
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--ops", nargs="+")
    parser.add_argument("--ranks", nargs="+", type=int, help="rounds of sizes, see rows.py")
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    chosen = parser.parse_args()
    # The backward of a compiled function is timed alone and repeatedly.
    import torch._functorch.config as functorch

    functorch.donated_buffer = False  # type: ignore[assignment]
    if chosen.device.startswith("cuda"):
        # Graphs are captured on a side stream, and a backward runs on the stream of its forward.
        torch.cuda.set_stream(torch.cuda.Stream())
    worker = Worker(chosen)
    if not chosen.glow_last:
        worker.glow()
    if chosen.implementation:
        worker.rows()
    if chosen.glow_last:
        worker.glow()


if __name__ == "__main__":
    main()

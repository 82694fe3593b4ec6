"""Times one contestant on a GPU, one JSON line a row, as soon as it is known.

    python -m benchmarks.gpu.worker --contestant cuda --rows rows.jsonl

Contestants: cuda and triton (ours, FLOWKERNELS_BACKEND says which), eager and compiled
(what users write in plain torch, ../peers.py), normflows (a Glow's training step only).
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flowkernels import ops

from .. import peers
from ..registry import Inputs, Row
from . import glow_step, parity
from .rows import TESTED_AS, rows, tensors_on
from .timing import Bench, Call, Effort, copy_gigabytes, l2_bytes, turns_for

Function = Callable[..., Any]


def _as_tuple(out: Any) -> tuple[Any, ...]:
    return out if isinstance(out, tuple) else (out,)


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def function_of(row: Row, contestant: str, device: str) -> Function:
    """What a contestant calls in a row."""
    with torch.device(device):
        options = row.subject.options(row.size)
    module = ops if contestant in ("cuda", "triton") else peers
    call = functools.partial(getattr(module, row.subject.op), *row.subject.before, **options)
    if contestant != "compiled":
        return call
    torch._dynamo.reset()
    compiled: Function = torch.compile(lambda *tensors: call(*tensors), dynamic=False)
    return compiled


def calls_of(row: Row, function: Function, inputs: list[Inputs]) -> tuple[list[Call], int]:
    """A call for each set of inputs, and the bytes that one has to read and write."""
    outputs = _as_tuple(function(*inputs[0]))
    moved = _bytes(inputs[0]) + _bytes(outputs)
    if row.direction == "forward":
        return [functools.partial(function, *tensors) for tensors in inputs], moved
    cotangents = [torch.randn_like(o) for o in outputs]
    moved += _bytes(cotangents) + 2 * _bytes(inputs[0])

    def both(leaves: Inputs) -> object:
        return torch.autograd.grad(_as_tuple(function(*leaves)), leaves, cotangents)

    leaves = [tuple(t.detach().requires_grad_() for t in tensors) for tensors in inputs]
    return [functools.partial(both, x) for x in leaves], moved


def time_row(row: Row, contestant: str, device: str, bench: Bench, copy: float) -> dict[str, Any]:
    """Microseconds, GB/s and the fraction of a copy's speed."""
    function = function_of(row, contestant, device)
    first = tensors_on(row, device)
    turns = turns_for(_bytes(first), l2_bytes()) if bench.on_gpu else 2
    inputs = [first, *(tuple(t.clone() for t in first) for _ in range(turns - 1))]
    calls, moved = calls_of(row, function, inputs)
    facts: dict[str, Any] = {"us": 1e6 * bench.seconds(calls), "bytes": moved, "turns": turns}
    best = facts["us"]
    if bench.on_gpu:
        try:
            facts["graph_us"] = 1e6 * bench.graph_seconds(calls)
            best = min(best, facts["graph_us"])
        except Exception as error:
            facts["no_graph"] = f"{type(error).__name__}: {error}"[:300]
    facts["gigabytes_per_second"] = moved / best / 1e3
    facts["fraction_of_copy"] = facts["gigabytes_per_second"] / copy
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in facts.items()}


def _glow(contestant: str, device: str, bench: Bench) -> dict[str, Any]:
    try:
        return glow_step.FACTS | glow_step.timed(contestant, device, bench)
    except Exception as error:
        return glow_step.FACTS | {"not_timed": f"{type(error).__name__}: {error}"[:300]}


def main() -> None:
    """Checks, then times row by row until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contestant", choices=glow_step.CONTESTANTS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tiny", action="store_true")
    chosen = parser.parse_args()
    end = time.monotonic() + chosen.seconds
    effort = Effort(3, 1e-4, 0.01) if chosen.tiny else Effort()
    bench = Bench(chosen.device, effort)
    ours = chosen.contestant in ("cuda", "triton")
    wrong: dict[str, list[str]] = {}
    if ours:
        wrong = parity.check(chosen.device, ["float32", "bfloat16"], 5 if chosen.tiny else 3)
    with chosen.rows.open("w") as file:

        def write(facts: dict[str, Any]) -> None:
            file.write(json.dumps({"contestant": chosen.contestant, **facts}) + "\n")
            file.flush()
            print(json.dumps(facts), flush=True)

        if problems := {op: found for op, found in wrong.items() if found}:
            write({"wrong_results": problems})
        if chosen.contestant != "compiled":  # which has its say below, where there is time
            write(_glow(chosen.contestant, chosen.device, bench))
        if chosen.contestant == "normflows":
            return
        copy = copy_gigabytes(bench, chosen.device, 4 if chosen.tiny else 256)
        write({"copy_gigabytes_per_second": round(copy, 1)})
        for row, note in rows(few=chosen.contestant == "compiled", tiny=chosen.tiny):
            facts = {k: v for k, v in row.facts().items() if k not in ("threads", "device")}
            facts |= {"note": note} if note else {}
            if time.monotonic() > end:
                write({**facts, "not_timed": "the time was over"})
            elif problems := wrong.get(TESTED_AS.get(row.subject.op, row.subject.op)):
                write({**facts, "not_timed": f"wrong results: {problems[0]}"})
            else:
                try:
                    timed = time_row(row, chosen.contestant, chosen.device, bench, copy)
                except Exception as error:
                    timed = {"not_timed": f"{type(error).__name__}: {error}"[:300]}
                write({**facts, **timed})
        if chosen.contestant == "compiled" and time.monotonic() < end:
            write(_glow(chosen.contestant, chosen.device, bench))


if __name__ == "__main__":
    main()

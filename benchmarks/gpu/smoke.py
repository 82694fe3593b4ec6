"""Runs every op once on a device and in a CUDA graph, and a Glow's training step in a graph.

    python -m benchmarks.gpu.smoke --lines smoke.jsonl [--device cuda]

The first check of a machine: which ops fail, and which cannot be captured.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from flowkernels import backends
from tests.ops.case import Case, Sample
from tests.ops.cases import CASES

from . import glow_step, parity
from .timing import short


def _capture(case: Case, sample: Sample) -> str:
    """Capture and replay a call with its gradient, and compare with a plain call."""
    leaves = sample.leaves()
    cotangents = tuple(torch.ones_like(o) for o in case.outputs(case.call, leaves))

    def call() -> tuple[torch.Tensor, ...]:
        outputs = case.outputs(case.call, leaves)
        return (*outputs, *torch.autograd.grad(outputs, leaves.tensors, cotangents))

    want = tuple(t.detach().clone() for t in call())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        got = call()
    graph.replay()
    torch.cuda.synchronize()
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        if not torch.equal(a, b):
            return f"result {i} of the replay differs from the call"
    return "captured"


def of_op(case: Case, device: str) -> dict[str, Any]:
    """The result for one op."""
    sample = case.samples()[0].to(torch.float32).on(device)
    facts: dict[str, Any] = {"op": case.op, "sample": sample.label}
    try:
        facts["result"] = parity.problem(case, sample) or "right"
    except Exception as error:
        facts["result"] = short(error)
        return facts
    if device.startswith("cuda"):
        try:
            facts["graph"] = _capture(case, sample)
        except Exception as error:
            facts["graph"] = short(error)
    return facts


def of_glow(device: str) -> dict[str, Any]:
    """The result for a training step: zero the gradients, loss, backward, Adam."""
    facts: dict[str, Any] = {"op": "glow, a training step"}
    try:
        step = glow_step.step_of("cuda", device)
        step()
        facts["result"] = "right"
        if device.startswith("cuda"):
            facts["graph"] = "captured"
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                step()
            graph.replay()
            torch.cuda.synchronize()
    except Exception as error:
        facts["graph" if "graph" in facts else "result"] = short(error)
    return facts


def main() -> int:
    """Write one line per op; 1 if an op is wrong or cannot be captured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ops", nargs="+")
    chosen = parser.parse_args()
    if chosen.device.startswith("cuda"):
        torch.cuda.set_stream(torch.cuda.Stream())
    failed = 0
    with chosen.lines.open("w") as file:

        def write(facts: dict[str, Any]) -> None:
            file.write(json.dumps(facts) + "\n")
            file.flush()
            print(json.dumps(facts), flush=True)

        write({"backends": backends()["affine_coupling"]})
        for case in CASES:
            if chosen.ops and case.op not in chosen.ops:
                continue
            facts = of_op(case, chosen.device)
            write(facts)
            failed += facts["result"] != "right" or facts.get("graph", "captured") != "captured"
        facts = of_glow(chosen.device)
        write(facts)
        failed += facts["result"] != "right" or facts.get("graph", "captured") != "captured"
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Peak memory of a training step, in a process of its own: python -m benchmarks.peak STEPS WAY.

Prints mebibytes: what the process held before the step, and the most that it held.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from .steps import HIDDEN, IMAGE, adam, images

WAYS = ("stored", "recompute")


def measure(steps: int, way: str) -> dict[str, float]:
    """A Glow of one level and so many steps; its first training step."""
    from flowkernels.flows import glow

    torch.set_num_threads(1)
    flow = glow(
        IMAGE, levels=1, steps=steps, hidden=HIDDEN, base="normal", dequantize=False,
        recompute=way == "recompute",
    )  # fmt: skip
    # More than the other benchmarks' 32: beside parameters and their moments, 6 MiB at 32 steps.
    x = images().repeat(4, 1, 1, 1)
    with torch.no_grad():
        flow.log_prob(x[:4])  # the data-dependent start, and what libraries allocate once
    before = _peak()
    optimizer = adam(flow)
    (-flow.log_prob(x).mean()).backward()
    optimizer.step()
    return {"before": before, "peak": _peak()}


def _peak() -> float:
    """The most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would begin with what the parent held.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 2**10
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))

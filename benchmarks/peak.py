"""Peak memory of a training step in a fresh process: python -m benchmarks.peak STEPS WAY.

Prints, in MiB, the memory of the process before the step and its peak.
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
    """The first training step of a Glow with one level and `steps` steps."""
    from flowkernels.flows import glow

    torch.set_num_threads(1)
    flow = glow(
        IMAGE, levels=1, steps=steps, hidden=HIDDEN, base="normal", dequantize=False,
        recompute=way == "recompute",
    )  # fmt: skip
    # Four times the usual batch, so that activations dominate the parameters and Adam's moments,
    # which are 6 MiB at 32 steps.
    x = images().repeat(4, 1, 1, 1)
    with torch.no_grad():
        flow.log_prob(x[:4])  # data-dependent initialisation and one-time allocations
    before = _peak()
    optimizer = adam(flow)
    (-flow.log_prob(x).mean()).backward()
    optimizer.step()
    return {"before": before, "peak": _peak()}


def _peak() -> float:
    """The peak memory of this process, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would include the memory of the parent process.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 2**10
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))

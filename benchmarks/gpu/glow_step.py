"""A Glow's training step, launched from the host and replayed from a CUDA graph.

The flow of ../steps.py in four hands: ours, the same map and parameters in plain torch, that
under torch.compile, and normflows' own.
"""

from __future__ import annotations

from typing import Any

import torch

from ..plain_glow import PlainGlow
from ..steps import (
    IMAGE,
    IMAGES,
    Step,
    flow_step,
    images,
    normflows_glow,
    our_glow,
    training_step,
)
from .timing import Bench

CONTESTANTS = ("cuda", "triton", "eager", "compiled", "normflows")
FACTS: dict[str, Any] = {
    "op": "glow",
    "size": [IMAGES, *IMAGE],
    "dtype": "float32",
    "direction": "training step",
}
# Of log densities in float32, their convolutions in TF32 where the GPU has it.
TOLERANCE = 2e-3


def step_of(contestant: str, device: str) -> Step:
    """One whole step: gradients to zero, loss, backward, Adam."""
    torch.manual_seed(0)
    x = images()
    if contestant == "normflows":
        return normflows_glow(x.to(device))
    flow = our_glow()
    flow.log_prob(x)  # actnorm's data-dependent start
    flow, plain, x = flow.to(device), PlainGlow(flow).to(device), x.to(device)
    if contestant in ("cuda", "triton"):
        torch.testing.assert_close(
            flow.log_prob(x), plain.log_prob(x), rtol=TOLERANCE, atol=TOLERANCE
        )
        return flow_step(flow, x)
    log_prob = plain.log_prob
    if contestant == "compiled":
        torch._dynamo.reset()
        log_prob = torch.compile(plain.log_prob, dynamic=False)
    return training_step(plain, lambda: -log_prob(x).mean())


def timed(contestant: str, device: str, bench: Bench) -> dict[str, Any]:
    """Microseconds of a step, and inside a graph where that can be had."""
    step = step_of(contestant, device)
    facts: dict[str, Any] = {"us": round(1e6 * bench.seconds([step]), 1)}
    if bench.on_gpu:
        try:
            facts["graph_us"] = round(1e6 * bench.graph_seconds([step]), 1)
        except Exception as error:
            facts["no_graph"] = f"{type(error).__name__}: {error}"[:300]
    return facts

"""A Glow's training step, launched from the host and replayed from a CUDA graph.

The flow of ../steps.py in four implementations: ours, the same map and parameters in plain torch,
eager and under torch.compile, and normflows.
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
from .timing import Bench, short

IMPLEMENTATIONS = ("cuda", "triton", "eager", "compiled", "normflows")
FACTS: dict[str, Any] = {
    "op": "glow",
    "size": [IMAGES, *IMAGE],
    "dtype": "float32",
    "direction": "training step",
}
# Tolerance of log densities in float32, with convolutions in TF32 if the GPU supports it.
TOLERANCE = 2e-3


def step_of(implementation: str, device: str) -> Step:
    """A training step: zero the gradients, loss, backward, Adam."""
    torch.manual_seed(0)
    x = images()
    if implementation == "normflows":
        return normflows_glow(x.to(device))
    flow = our_glow()
    flow.log_prob(x)  # actnorm's data-dependent initialisation
    flow, plain, x = flow.to(device), PlainGlow(flow).to(device), x.to(device)
    if implementation in ("cuda", "triton"):
        torch.testing.assert_close(
            flow.log_prob(x), plain.log_prob(x), rtol=TOLERANCE, atol=TOLERANCE
        )
        return flow_step(flow, x)
    log_prob = plain.log_prob
    if implementation == "compiled":
        torch._dynamo.reset()
        log_prob = torch.compile(plain.log_prob, dynamic=False)
    return training_step(plain, lambda: -log_prob(x).mean())


def timed(implementation: str, device: str, bench: Bench) -> dict[str, Any]:
    """Microseconds of a step, and of its CUDA graph if it can be captured."""
    step = step_of(implementation, device)
    facts: dict[str, Any] = {"us": round(1e6 * bench.seconds([step]), 1)}
    if bench.on_gpu:
        try:
            facts["graph_us"] = round(1e6 * bench.graph_seconds([step]), 1)
        except Exception as error:
            facts["no_graph"] = short(error)
    return facts

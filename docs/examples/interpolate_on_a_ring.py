"""Interpolation in a flow whose base is a von Mises-Fisher distribution.

The data are points on a ring. A straight line between two of them crosses the hole. The flow's
path is the arc between their latents on the sphere, decoded; it stays near the data. The outcome
is the mean distance from the ring of the points on 200 of the flow's paths, divided by that of
the straight lines.

    python docs/examples/interpolate_on_a_ring.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from flowkernels.flows import Flow, nsf


def ring(count: int) -> Tensor:
    """Points (count, 2) on three quarters of a ring of radius 2, with noise."""
    angle = 1.5 * torch.pi * torch.rand(count)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(count, 2)


def train(steps: int = 800) -> Flow:
    """A flow for the ring, with its base on the sphere S^2."""
    flow = nsf(2, layers=4, hidden=64, base="vmf", concentration_scale=1.0)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -flow.log_prob(ring(256)).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    return flow.eval()


def main(picture: str | None = None) -> float:
    """The distance of the flow's paths from the ring, relative to straight lines."""
    torch.manual_seed(0)
    flow = train()
    a, b = ring(200), ring(200)
    t = torch.linspace(0, 1, 21)
    with torch.no_grad():
        paths = flow.interpolate(a, b, t)  # (200, 21, 2)
    lines = torch.lerp(a[:, None], b[:, None], t[:, None])
    distances = [(points.norm(dim=-1) - 2).abs().mean().item() for points in (paths, lines)]
    print(
        f"mean distance from the ring: flow {distances[0]:.3f}, straight lines {distances[1]:.3f}"
    )
    if picture:
        from matplotlib import pyplot as plt

        _, axis = plt.subplots(figsize=(4, 4))
        axis.scatter(*ring(2000).T, s=1, color="silver")
        for i in range(3):
            axis.plot(*paths[i].T, "o-", markersize=3, color=f"C{i}")
            axis.plot(*lines[i].T, "--", color=f"C{i}")
        axis.set_aspect("equal")
        plt.savefig(picture, dpi=150)
    return distances[0] / distances[1]


if __name__ == "__main__":
    main(*sys.argv[1:])

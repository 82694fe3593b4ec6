"""A conditional neural spline flow: points on rings, given the radius of the ring.

One flow learns p(x | radius) for all radii between 1 and 2. The outcome is the largest difference
between a radius that was asked for and the median length of 500 samples for it. The rings have
a thickness of 0.05.

    python docs/examples/conditional_rings.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from flowkernels.flows import Flow, nsf


def rings(radius: Tensor) -> Tensor:
    """A point (n, 2) on each of n rings, with noise."""
    angle = 2 * torch.pi * torch.rand(len(radius), 1)
    circle = radius * torch.cat([angle.cos(), angle.sin()], 1)
    return circle + 0.05 * torch.randn(len(radius), 2)


def train(steps: int = 600) -> Flow:
    """A flow for rings of radius 1 to 2."""
    flow = nsf(2, layers=3, hidden=64, context=1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        radius = 1 + torch.rand(256, 1)
        optimizer.zero_grad()
        loss = -flow.log_prob(rings(radius), radius).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    return flow.eval()


def main(picture: str | None = None) -> float:
    """The largest error of a radius."""
    torch.manual_seed(0)
    flow = train()
    asked = torch.tensor([[1.1], [1.5], [1.9]])
    samples = flow.sample(500, asked)  # (3, 500, 2)
    found = samples.norm(dim=-1).median(-1).values
    for radius, median in zip(asked[:, 0].tolist(), found.tolist(), strict=True):
        print(f"asked for {radius:.2f}, median radius of 500 samples {median:.3f}")
    if picture:
        from matplotlib import pyplot as plt

        _, axis = plt.subplots(figsize=(4, 4))
        for radius, points in zip(asked[:, 0].tolist(), samples, strict=True):
            axis.scatter(*points.T, s=3, label=f"radius {radius:.1f}")
        axis.set_aspect("equal")
        axis.legend()
        plt.savefig(picture, dpi=150)
    return (found - asked[:, 0]).abs().max().item()


if __name__ == "__main__":
    main(*sys.argv[1:])

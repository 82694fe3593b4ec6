"""A density for every radius.

One neural spline flow learns p(x | radius) from points on rings of all radii between 1 and 2. The
picture shows its density for three of them, each as the opacity of a colour. It trains for 500
steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from flowkernels.flows import nsf

GREY = "#7a7a7a"  # to be read on white and on black
COLOURS = {1.0: "#0072B2", 1.5: "#E69F00", 2.0: "#D55E00"}  # Okabe and Ito


def rings(radius: torch.Tensor) -> torch.Tensor:
    """A point (n, 2) near each of n rings."""
    angle = 2 * torch.pi * torch.rand(len(radius), 1)
    circle = radius * torch.cat([angle.cos(), angle.sin()], 1)
    return circle + 0.08 * torch.randn(len(radius), 2)


def main(picture: str) -> float:
    """Draws the densities; returns the mean of the three masses within the picture."""
    torch.manual_seed(0)
    flow = nsf(2, layers=4, hidden=64, context=1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for _ in range(500):
        radius = 0.9 + 1.2 * torch.rand(512, 1)
        optimizer.zero_grad()
        loss = -flow.log_prob(rings(radius), radius).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    flow.eval()

    line = torch.linspace(-2.5, 2.5, 300)
    grid = torch.cartesian_prod(line, line)  # (90000, 2)
    figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
    masses = []
    for radius, colour in COLOURS.items():
        with torch.no_grad():
            density = flow.log_prob(grid, torch.full((len(grid), 1), radius)).exp()
        masses.append(density.mean().item() * 25)
        pixels = torch.zeros(300, 300, 4)
        pixels[..., :3] = torch.tensor(to_rgb(colour))
        pixels[..., 3] = (density / density.quantile(0.99)).clamp(0, 1).view(300, 300).T
        axis.imshow(pixels.numpy(), extent=(-2.5, 2.5, -2.5, 2.5), origin="lower")
        axis.annotate(f"{radius:g}", (0, -radius - 0.34), color=GREY, ha="center", fontsize=12)
    axis.axis("off")
    figure.savefig(picture, dpi=110, transparent=True)
    return sum(masses) / 3


if __name__ == "__main__":
    default = str(Path(__file__).with_suffix(".png"))
    print(main(sys.argv[1] if len(sys.argv) > 1 else default))

"""Clusters of directions.

A mixture of five von Mises-Fisher distributions, fitted by EM to 2500 points on the sphere. It is
not told which point is from which cluster. Each point has the colour of its most probable
component; the line around each mean direction holds 80 % of the component. Points on the far side
are pale.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from torch.nn.functional import normalize

from flowkernels.cluster import VonMisesFisherMixture
from flowkernels.distributions import VonMisesFisher

GREY = "#7a7a7a"  # to be read on white and on black
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")  # Okabe and Ito


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Points (2500, 3) and the cluster of each, (2500,)."""
    directions = [[0.0, 0.75, 0.6], [0.75, 0.1, 0.65], [-0.7, 0.2, 0.7], [0.2, -0.7, 0.7],
                  [-0.5, -0.5, -0.7]]  # fmt: skip
    law = VonMisesFisher(
        normalize(torch.tensor(directions), dim=1), torch.tensor([60.0, 15.0, 30.0, 20.0, 40.0])
    )
    x = law.sample((500,))  # (500, 5, 3)
    return x.reshape(-1, 3), torch.arange(5).repeat(500)


def cap(loc: torch.Tensor, concentration: torch.Tensor, share: float) -> torch.Tensor:
    """The edge (200, 3) of the cap around `loc` that holds a share of the distribution."""
    # On the sphere in R^3, w = loc.x has the density ~ exp(kappa w).
    w = 1 + torch.log1p(-share * (1 - torch.exp(-2 * concentration))) / concentration
    first = normalize(torch.linalg.cross(loc, torch.eye(3)[loc.abs().argmin()]), dim=0)
    second = torch.linalg.cross(loc, first)
    angle = torch.linspace(0, 2 * torch.pi, 200)[:, None]
    return w * loc + (1 - w * w).sqrt() * (angle.cos() * first + angle.sin() * second)


def main(picture: str) -> float:
    """Draws the clusters; returns the share of points that are with most of their cluster."""
    torch.manual_seed(0)
    x, truth = data()
    mixture = VonMisesFisherMixture(5, n_init=3, random_state=0).fit(x)
    found = mixture.predict(x)
    figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
    axis.add_patch(plt.Circle((0, 0), 1, fill=False, color=GREY, lw=1))
    for k, colour in enumerate(COLOURS):
        for side, alpha in ((x[:, 2] < 0, 0.4), (x[:, 2] >= 0, 0.8)):
            axis.scatter(*x[(found == k) & side, :2].T, s=5, color=colour, alpha=alpha, lw=0)
        loc, concentration = (
            torch.as_tensor(a)[k] for a in (mixture.locs_, mixture.concentrations_)
        )
        edge = cap(loc, concentration, 0.8)
        axis.plot(*edge[:, :2].T, color=GREY, lw=1.5, ls="-" if loc[2] > 0 else ":")
    axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    axis.axis("off")
    figure.savefig(picture, dpi=130, transparent=True)
    return sum(torch.bincount(truth[found == k]).max().item() for k in range(5)) / len(x)


if __name__ == "__main__":
    default = str(Path(__file__).with_suffix(".png"))
    print(main(sys.argv[1] if len(sys.argv) > 1 else default))

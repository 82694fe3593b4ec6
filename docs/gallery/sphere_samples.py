"""Three distributions on the sphere.

3000 points each of a von Mises-Fisher, a power spherical and a spherical Cauchy distribution,
drawn around the same direction (the cross) and with the same mean length, 0.9. They differ in how
the rest is spread: the spherical Cauchy is the most concentrated at the centre, and has points on
the other side of the sphere. Points on the far side are pale.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from flowkernels import ops
from flowkernels.distributions import PowerSpherical, SphericalCauchy, VonMisesFisher

LENGTH = 0.9  # of the mean of the points
GREY = "#7a7a7a"  # to be read on white and on black
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # Okabe and Ito


def laws(loc: torch.Tensor) -> dict[str, torch.distributions.Distribution]:
    """The three distributions with the same mean."""
    low, high = 0.0, 1.0  # the spherical Cauchy's rho, by bisection
    for _ in range(40):
        rho = (low + high) / 2
        too_short = SphericalCauchy(loc, torch.tensor(rho)).mean.norm() < LENGTH
        low, high = (rho, high) if too_short else (low, rho)
    return {
        "von Mises-Fisher": VonMisesFisher(loc, ops.vmf_concentration(torch.tensor(LENGTH), 3)),
        "power spherical": PowerSpherical(loc, torch.tensor(2 * LENGTH / (1 - LENGTH))),
        "spherical Cauchy": SphericalCauchy(loc, torch.tensor(rho)),
    }


def main(picture: str) -> dict[str, float]:
    """Draws the points; returns the length of the mean of each sample."""
    torch.manual_seed(0)
    loc = torch.nn.functional.normalize(torch.tensor([0.35, 0.3, 0.9]), dim=0)
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
    lengths = {}
    for axis, colour, (name, law) in zip(axes, COLOURS, laws(loc).items(), strict=True):
        x = law.sample((3000,))  # (3000, 3), seen along the third axis
        lengths[name] = x.mean(0).norm().item()
        near = x[:, 2] >= 0
        axis.add_patch(plt.Circle((0, 0), 1, fill=False, color=GREY, lw=1))
        axis.scatter(*x[~near, :2].T, s=3, color=colour, alpha=0.4, lw=0)
        axis.scatter(*x[near, :2].T, s=3, color=colour, alpha=0.8, lw=0)
        axis.plot(*loc[:2], "+", color=GREY, ms=12, mew=2)
        axis.set_title(name, color=GREY, fontsize=13)
        axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axis.axis("off")
    figure.savefig(picture, dpi=130, transparent=True)
    return lengths


if __name__ == "__main__":
    default = str(Path(__file__).with_suffix(".png"))
    print(main(sys.argv[1] if len(sys.argv) > 1 else default))

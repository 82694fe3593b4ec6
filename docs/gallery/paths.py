"""Straight lines, arcs, and paths that keep a distribution.

Left: the lengths along paths between two Gaussian points in 100 dimensions, the median and the
middle 90 % of 2000 pairs. Nearly all Gaussian points have a length near 10. A straight line
(`linear`) cuts through the middle, where there are none; `normalized_linear`, the line divided by
sqrt((1-t)^2 + t^2), keeps the distribution.

Right: paths between three pairs of Gaussian points in the plane, among other such points in grey.
Dashed is `linear`, dotted `slerp`, and solid `cauchy_linear(StandardNormal())`, which maps each
coordinate to a Cauchy variable, follows a straight line there, and maps back: at every t its
points have the distribution of the ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from flowkernels.interpolation import (
    StandardNormal,
    cauchy_linear,
    linear,
    normalized_linear,
    slerp,
)

GREY = "#7a7a7a"  # to be read on white and on black
BLUE, RED, GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito


def main(picture: str) -> dict[str, float]:
    """Draws the paths; returns the median length in the middle over that at the ends."""
    torch.manual_seed(2)
    settings = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY
    )
    with plt.rc_context(settings | {"font.size": 11}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
        a, b = torch.randn(2, 2000, 100)
        t = torch.linspace(0, 1, 51)
        outcome = {}
        for name, path, colour in (
            ("linear", linear, RED), ("normalized_linear", normalized_linear, BLUE)
        ):  # fmt: skip
            lengths = path(a, b, t).norm(dim=-1)  # (2000, 51)
            low, middle, high = lengths.quantile(torch.tensor([0.05, 0.5, 0.95]), 0)
            left.fill_between(t, low, high, color=colour, alpha=0.25, lw=0)
            left.plot(t, middle, color=colour, lw=2, label=name)
            outcome[name] = (middle[25] / middle[0]).item()
        left.set(xlabel="t", ylabel="length", ylim=(5, 13))
        left.legend(frameon=False, loc="upper left", ncols=2)

        right.scatter(*torch.randn(1500, 2).T, s=3, color=GREY, alpha=0.35, lw=0)
        a = torch.tensor([[-1.9, -1.2], [-0.4, 1.9], [2.3, 0.2]])
        b = torch.tensor([[1.5, -1.6], [1.6, 1.0], [-2.2, 0.8]])
        t = torch.linspace(0, 1, 101)
        ways = (("--", linear), (":", slerp), ("-", cauchy_linear(StandardNormal())))
        for style, path in ways:
            for colour, points in zip((BLUE, RED, GREEN), path(a, b, t), strict=True):
                right.plot(*points.T, style, color=colour, lw=2)
                right.plot(*points[[0, -1]].T, "o", color=colour, ms=6)
        right.set(xlim=(-2.9, 2.9), ylim=(-2.9, 2.9), aspect="equal")
        figure.savefig(picture, dpi=130, transparent=True)
    return outcome


if __name__ == "__main__":
    default = str(Path(__file__).with_suffix(".png"))
    print(main(sys.argv[1] if len(sys.argv) > 1 else default))

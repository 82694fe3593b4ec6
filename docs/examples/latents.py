"""Interpolation of Gaussian latents: which paths keep their distribution?

A decoder expects latents like those it was trained on: of length about sqrt(d) for a standard
Gaussian in d dimensions. The middle of a straight line between two of them is too short. For
each path the script measures how far the distribution of the middle's length is from that of the
latents (Kolmogorov-Smirnov distance, 0 to 1). The outcome is that of the path that preserves the
distribution, `spherical_cauchy_linear`.

    python docs/examples/latents.py
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels.interpolation import get_path

DIM, PAIRS = 100, 10_000
PATHS = ("linear", "slerp", "norm_corrected", "normalized_linear", "spherical_cauchy_linear")


def distance(length: Tensor) -> float:
    """Between the empirical distribution of lengths and chi with DIM degrees of freedom."""
    chi_squared = length.double().sort().values.square()
    exact = torch.special.gammainc(torch.full_like(chi_squared, DIM / 2), chi_squared / 2)
    steps = torch.arange(len(length) + 1, dtype=torch.float64) / len(length)
    return torch.maximum(exact - steps[:-1], steps[1:] - exact).max().item()


def main() -> float:
    """The distance of the path that preserves the distribution."""
    torch.manual_seed(0)
    a, b = torch.randn(2, PAIRS, DIM)
    found = {}
    for name in PATHS:
        middle = get_path(name)(a, b, 0.5)
        found[name] = distance(middle.norm(dim=-1))
        print(f"{name:24} mean length {middle.norm(dim=-1).mean():5.2f}, KS {found[name]:.3f}")
    return found["spherical_cauchy_linear"]


if __name__ == "__main__":
    main()

"""Densities in the plane for comparing bases (Stimper et al. 2022, section 4.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Target, grid_2d, rejection

__all__ = ["CircleOfGaussians", "Rings", "TwoMoons"]


class TwoMoons(Target):
    """Two arcs of a ring of radius 2, facing each other.

    log p(x) = -(|x| - 2)^2 / (2 0.2^2) + log sum_{s = +-1} exp(-(x_1 - 2 s)^2 / (2 0.3^2)),
    the first potential of Rezende & Mohamed, "Variational inference with normalizing flows"
    (2015), table 1. Draws: radius from the ring's density, angle uniform, accepted in proportion
    to the arcs' factor.

    Example:
        >>> TwoMoons().sample(3).shape
        torch.Size([3, 2])
    """

    name = "two_moons"
    event_shape = torch.Size([2])
    extent = 4.0
    radius, width, spread = 2.0, 0.2, 0.3

    def __init__(self) -> None:
        nodes, cell = grid_2d(self.extent, 801)
        self.log_normalizer = float(self.log_prob(nodes).logsumexp(0)) + math.log(cell)

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x)
        ring = ((x.norm(dim=-1) - self.radius) / self.width).square()
        return self._arcs(x) - 0.5 * ring

    def sample(self, count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        return rejection(count, lambda n: self._propose(n, dtype))

    def _arcs(self, x: Tensor) -> Tensor:
        sides = torch.stack([x[..., 0] - self.radius, x[..., 0] + self.radius])
        return torch.logsumexp(-0.5 * (sides / self.spread).square(), 0)

    def _propose(self, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        centres = torch.full((count,), self.radius, dtype=dtype)
        x, probability = ring_proposals(centres, self.width)
        # The arcs' sum is at most 1 + exp(-(2 radius / spread)^2 / 2).
        most = math.log1p(math.exp(-0.5 * (2 * self.radius / self.spread) ** 2))
        return x, probability * (self._arcs(x) - most).exp()


class CircleOfGaussians(Target):
    """Eight round Gaussians on a circle of radius 2.

    log p(x) = log sum_k exp(-|x - c_k|^2 / (2 s^2)), c_k = 2 (sin, cos)(2 pi k / 8),
    s = (2/3) sin(pi / 8), so that neighbours are 6 s apart.

    Args:
        modes: number of Gaussians.

    Example:
        >>> round(CircleOfGaussians().log_normalizer, 3)  # log(8 2 pi s^2)
        1.185
    """

    name = "circle"
    event_shape = torch.Size([2])
    extent = 4.0
    radius = 2.0

    def __init__(self, modes: int = 8) -> None:
        if modes < 1:
            raise ValueError(f"modes must be at least 1, got {modes}")
        self.modes = modes
        self.scale = 2 / 3 * math.sin(math.pi / modes)
        angle = 2 * math.pi / modes * torch.arange(modes, dtype=torch.float64)
        self.centres = self.radius * torch.stack([angle.sin(), angle.cos()], -1)
        self.log_normalizer = math.log(modes * 2 * math.pi * self.scale**2)

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x)
        offset = (x[..., None, :] - self.centres.to(x)) / self.scale
        return torch.logsumexp(-0.5 * offset.square().sum(-1), -1)

    def sample(self, count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        centres = self.centres.to(dtype)[torch.randint(self.modes, (count,))]
        return centres + self.scale * torch.randn(count, 2, dtype=dtype)


class Rings(Target):
    """Concentric rings of equal height.

    log p(x) = log sum_i exp(-(|x| - r_i)^2 / (2 s^2)), r_i = 2 i / n for i = 1 .. n,
    s = 1 / (4 n).

    Args:
        rings: n.

    Example:
        >>> radius = Rings().sample(10_000).norm(dim=-1)
        >>> round(float((radius > 1.5).float().mean()), 1)  # the outer ring is twice as long
        0.7
    """

    name = "rings"
    event_shape = torch.Size([2])
    extent = 4.0

    def __init__(self, rings: int = 2) -> None:
        if rings < 1:
            raise ValueError(f"rings must be at least 1, got {rings}")
        self.radii = torch.arange(1, rings + 1, dtype=torch.float64) * (2 / rings)
        self.width = 1 / (4 * rings)
        # Polar: 2 pi times the integral of r p(r), on r > 0.
        r = torch.linspace(0, self.extent, 8001, dtype=torch.float64)[1:]
        line = self.log_prob(torch.stack([r, torch.zeros_like(r)], -1)) + r.log()
        step = self.extent / 8000
        self.log_normalizer = float(line.logsumexp(0)) + math.log(2 * math.pi * step)

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x)
        offset = (x.norm(dim=-1, keepdim=True) - self.radii.to(x)) / self.width
        return torch.logsumexp(-0.5 * offset.square(), -1)

    def sample(self, count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        # The mass of each ring's envelope, see ring_proposals.
        mass = self.radii * torch.exp(self.width**2 / (2 * self.radii.square()))

        def propose(n: int) -> tuple[Tensor, Tensor]:
            which = torch.multinomial(mass, n, replacement=True)
            return ring_proposals(self.radii[which].to(dtype), self.width)

        return rejection(count, propose)


def ring_proposals(centres: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Proposals (n, 2) and acceptance probabilities (n,) for exp(-(|x| - m)^2 / (2 s^2)).

    The radius has the density r exp(-(r - m)^2 / (2 s^2)) on r > 0. As r <= m exp(r/m - 1), it is
    bounded by a Gaussian of mean m + s^2/m and the same width, with mass proportional to
    m exp(s^2 / (2 m^2)). The acceptance probability is (r/m) exp(1 - r/m), nearly 1.
    """
    radius = centres + width**2 / centres + width * torch.randn_like(centres)
    ratio = radius / centres
    angle = 2 * math.pi * torch.rand_like(centres)
    x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
    return x, torch.where(radius > 0, ratio * torch.exp(1 - ratio), 0.0)

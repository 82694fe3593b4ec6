"""The interface of unnormalised target densities."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Target", "grid_2d", "log_integral", "rejection"]


class Target:
    """An unnormalised density on R^d with exact draws.

    Attributes:
        name: its name in studies.
        event_shape: ``torch.Size([d])``.
        log_normalizer: log of the integral of ``exp(log_prob)``, in closed form or by quadrature.
        extent: the mass outside the box |x_i| <= extent is below 1e-9 (dimension 2).
    """

    name: str
    event_shape: torch.Size
    log_normalizer: float
    extent: float

    def log_prob(self, x: Tensor) -> Tensor:
        """The unnormalised log density of x (*batch, d), in nats, shape (*batch)."""
        raise NotImplementedError(f"{type(self).__name__} does not define log_prob")

    def sample(self, count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Exact draws (count, d), from torch's default generator."""
        raise NotImplementedError(f"{type(self).__name__} does not define sample")

    def _check(self, x: Tensor) -> None:
        if x.shape[-1:] != self.event_shape:
            expected = f"(*batch, {self.event_shape[0]})"
            raise ValueError(f"{self.name}: x must have shape {expected}, got {tuple(x.shape)}")


def rejection(
    count: int, propose: Callable[[int], tuple[Tensor, Tensor]], *, most_rounds: int = 10_000
) -> Tensor:
    """`count` accepted rows of proposals, drawn in blocks.

    Args:
        count: number of rows.
        propose: n -> n proposals (n, d) and their acceptance probabilities (n,).
        most_rounds: number of blocks after which to raise RuntimeError.

    Example:
        >>> def half_disc(n):
        ...     x = 2 * torch.rand(n, 2) - 1
        ...     return x, ((x.norm(dim=-1) < 1) & (x[:, 0] > 0)).float()
        >>> rejection(100, half_disc).shape
        torch.Size([100, 2])
    """
    rows, kept, missing = [], 0, count
    for _ in range(most_rounds):
        x, probability = propose(max(256, 2 * missing))
        accepted = x[torch.rand_like(probability) < probability]
        rows.append(accepted)
        kept += len(accepted)
        missing = count - kept
        if missing <= 0:
            return torch.cat(rows)[:count]
    raise RuntimeError(f"rejection: {kept} of {count} rows accepted in {most_rounds} blocks")


def grid_2d(extent: float, points: int) -> tuple[Tensor, float]:
    """Nodes (points^2, 2) of the trapezoid rule on [-extent, extent]^2, and the area of a cell.

    The second coordinate varies fastest. For smooth functions that vanish at the edge the error
    decreases faster than any power of the step.
    """
    axis = torch.linspace(-extent, extent, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), float((2 * extent / (points - 1)) ** 2)


def log_integral(log_density: Callable[[Tensor], Tensor], extent: float, points: int) -> float:
    """log of the integral of exp(log_density(x)) over [-extent, extent], by the trapezoid rule.

    Example:
        >>> round(log_integral(lambda x: -0.5 * x * x, 12.0, 1001), 9) == round(
        ...     0.5 * math.log(2 * math.pi), 9
        ... )
        True
    """
    x = torch.linspace(-extent, extent, points, dtype=torch.float64)
    return float(log_density(x).logsumexp(0)) + math.log(2 * extent / (points - 1))

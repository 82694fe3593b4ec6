"""Maximum likelihood for the Power Spherical distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from .gamma_ratio import digamma_gap, trigamma_gap
from .resultant import mean_direction

__all__ = ["fit_power_spherical"]

_ROUNDS = 500  # tens suffice, except for nearly uniform samples, where steps halve and double


def fit_power_spherical(samples: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Direction (*batch, p) and concentration (*batch) in the dtype of the samples.

    Computed in float64: the sums of logarithms and the difference from the mode cancel.
    """
    x, w = samples.double(), weights.double().squeeze(-1)
    start, _, _ = mean_direction("PowerSpherical", x, weights.double())
    direction = _direction(x, w, start)
    rest = -(w * _log_half_sum(x, direction)).sum(0)
    kappa = _concentration(rest, x.shape[-1])
    return direction.to(samples.dtype), kappa.to(samples.dtype)


def _log_half_sum(x: Tensor, direction: Tensor) -> Tensor:
    """log((1 + cosine) / 2), from the nearer of `direction` and -`direction`."""
    apart = (x - direction).square().sum(-1) / 4
    beyond = (x + direction).square().sum(-1) / 4
    return torch.where(apart < 0.5, torch.log1p(-apart), beyond.log())


def _direction(x: Tensor, w: Tensor, start: Tensor) -> Tensor:
    """The unit vector that maximises sum w log(1 + cosine), by monotone scoring steps.

    Stops at a gradient below 1e-12, or near 1e-8, where rounding hides further progress. A sample
    at -direction makes the sum -inf, so the maximum found may be local.
    """
    n = x.shape[-1] - 1
    best, value = start, (w * _log_half_sum(x, start)).sum(0)
    step = torch.ones_like(value)
    for _ in range(_ROUNDS):
        half_sum = _log_half_sum(x, best).exp().clamp_min(1e-300)
        cosine = 2 * half_sum - 1
        pull = ((w / (2 * half_sum)).unsqueeze(-1) * x).sum(0)
        pull = pull - (pull * best).sum(-1, keepdim=True) * best
        # Fisher information of the direction per unit of concentration, > 0 in expectation.
        curvature = (w * ((1 - cosine) / n + cosine) / (2 * half_sum)).sum(0).clamp_min(0.05)
        trial = best + (step / curvature).unsqueeze(-1) * pull
        trial = trial / torch.linalg.vector_norm(trial, dim=-1, keepdim=True)
        reached = (w * _log_half_sum(x, trial)).sum(0)
        # Near the maximum the value is flat to rounding, but the step still helps.
        better = reached >= value - 1e-15 * value.abs()
        best = torch.where(better.unsqueeze(-1), trial, best)
        value = torch.where(better, reached, value)
        step = torch.where(better, (2 * step).clamp_max(1.0), step / 4)
        if (torch.linalg.vector_norm(pull, dim=-1) < 1e-12).all():
            break
    return best


def _concentration(rest: Tensor, dim: int) -> Tensor:
    """The kappa >= 0 with psi(n + kappa) - psi(n/2 + kappa) = rest, or 0 if there is none.

    Newton's method on the reciprocal, which is nearly linear: about 2 kappa / n + 1 for large
    kappa. There is none if `rest` exceeds the value at 0: samples flatter than uniform.
    """
    half = (dim - 1) / 2
    kappa = torch.zeros_like(rest)
    for _ in range(12):
        gap = digamma_gap(half + kappa, half)
        change = (1 / rest - 1 / gap) * gap.square() / trigamma_gap(half + kappa, half)
        kappa = (kappa + change).clamp_min(0)
    return kappa

"""Argument checks and sums shared by the maximum-likelihood fits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..synchronization import has_values
from .constraints import unit_sphere

__all__ = ["checked_samples", "mean_direction"]


def checked_samples(name: str, samples: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Samples (n, *batch, p) and weights (n, *batch, 1) that sum to 1 over n."""
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        got = samples.dtype if isinstance(samples, Tensor) else type(samples).__name__
        raise TypeError(f"{name}.fit: samples must be a floating-point tensor, got {got}")
    if samples.ndim < 2 or samples.shape[0] == 0 or samples.shape[-1] < 2:
        raise ValueError(
            f"{name}.fit: samples must be (n, *batch, p) with n >= 1 and p >= 2, "
            f"got shape {tuple(samples.shape)}"
        )
    if not has_values(samples):
        raise ValueError(f"{name}.fit: samples must have values, got a tensor on {samples.device}")
    if not unit_sphere.check(samples).all():
        raise ValueError(f"{name}.fit: samples must be unit vectors along the last dimension")
    if weights is None:
        weights = samples.new_ones(samples.shape[:1])
    elif not isinstance(weights, Tensor):
        raise TypeError(f"{name}.fit: weights must be a tensor, got {type(weights).__name__}")
    if weights.shape not in (samples.shape[:1], samples.shape[:-1]):
        raise ValueError(
            f"{name}.fit: weights must be (n,) or (n, *batch), {tuple(samples.shape[:1])} or "
            f"{tuple(samples.shape[:-1])} for these samples, got shape {tuple(weights.shape)}"
        )
    weights = weights.to(samples)
    if (weights < 0).any() or not (weights.sum(0) > 0).all():
        raise ValueError(f"{name}.fit: weights must be >= 0 and not all 0, got {weights}")
    weights = weights.reshape(*weights.shape, *[1] * (samples.ndim - weights.ndim))
    return samples, (weights / weights.sum(0)).expand(*samples.shape[:-1], 1)


def mean_direction(name: str, samples: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The direction of the weighted mean (e_1 if the mean is 0), its length r, and 1 - r.

    For unit vectors 1 - r is half the mean squared distance from that direction, a sum without
    cancellation even if the samples are close together.
    """
    mean = (weights * samples).sum(0)
    r = torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
    axis = torch.zeros_like(mean)
    axis[..., 0] = 1
    direction = torch.where(r > 0, mean / torch.where(r > 0, r, 1.0), axis)
    complement = (weights * (samples - direction).square()).sum((0, -1)) / 2
    if (complement <= (2 * torch.finfo(samples.dtype).eps) ** 2).any():
        raise ValueError(
            f"{name}.fit: samples must not all be one point: the likelihood is unbounded"
        )
    return direction, r.squeeze(-1), complement

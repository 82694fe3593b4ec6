"""Spherical linear interpolation, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """(sin((1 - t) w) a + sin(t w) b) / sin w for a and b of length 1 at the angle w."""
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    if t.ndim:
        a, b, t = a.unsqueeze(-2), b.unsqueeze(-2), t.unsqueeze(-1)
    if a.shape[-1] == 1:  # there is nothing between opposite directions
        return (t * torch.pi * (a * b < 0)).cos() * a
    # Kahan's form of the angle, which no angle is too small or too large for.
    w = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    return (((1 - t) * w).sin() * a + (t * w).sin() * b) / w.sin()

"""Spherical linear interpolation in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The point at fraction t of the great circle from a to b."""
    dtype = a.dtype
    compute = torch.promote_types(dtype, torch.float32)
    a, b = a.to(compute), b.to(compute)
    t = torch.as_tensor(t, dtype=compute, device=a.device)
    unit = a / a.norm(dim=-1, keepdim=True)
    r = torch.where((a * b).sum(-1, keepdim=True) >= 0, b - a, b + a)
    perp = r - unit * (unit * r).sum(-1, keepdim=True)
    n = perp.norm(dim=-1, keepdim=True)
    omega = torch.atan2(n, (unit * b).sum(-1, keepdim=True))
    e = perp / n.clamp_min(torch.finfo(compute).tiny)
    if t.ndim:
        unit, e, omega = unit.unsqueeze(-2), e.unsqueeze(-2), omega.unsqueeze(-2)
        t = t.unsqueeze(-1)
    return (unit * torch.cos(t * omega) + e * torch.sin(t * omega)).to(dtype)

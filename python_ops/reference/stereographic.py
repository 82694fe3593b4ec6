"""Stereographic projection R^d <-> S^d in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def stereographic(z: Tensor) -> tuple[Tensor, Tensor]:
    """s = [z rho, 1 - rho], rho = 2 / (1 + |z|^2), and log det = d log rho."""
    dtype = z.dtype
    z = z.to(torch.promote_types(dtype, torch.float32))
    sq = z.square().sum(-1, keepdim=True)
    rho = 2 / (1 + sq)
    s = torch.cat([z * rho, (sq - 1) / (sq + 1)], dim=-1)
    log_rho = -torch.log1p((sq - 1) / 2)
    return s.to(dtype), z.shape[-1] * log_rho.squeeze(-1)


def stereographic_inverse(s: Tensor) -> tuple[Tensor, Tensor]:
    """z = s[:d] / (1 - s[d]) and the log det of that map, -d log rho."""
    dtype = s.dtype
    s = s.to(torch.promote_types(dtype, torch.float32))
    head, last = s[..., :-1], s[..., -1:]
    z = head / (1 - last)
    sq = z.square().sum(-1)
    return z.to(dtype), z.shape[-1] * torch.log1p((sq - 1) / 2)

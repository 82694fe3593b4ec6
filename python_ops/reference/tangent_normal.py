"""Points around an axis of the sphere, by definition."""

from __future__ import annotations

import torch
from torch import Tensor

from .philox import normal


def tangent_normal(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> Tensor:
    """R [cosine, sine v] with v uniform on the sphere across e_1 and R e_1 = loc.

    R is a reflection across w = loc + sign(loc_1) e_1, of |w|^2 = 2 (1 + |loc_1|), times
    -sign(loc_1).
    """
    v = normal(seed, cosine.shape, loc.shape[-1] - 1).to(loc.dtype)
    v = v / v.norm(dim=-1, keepdim=True)
    y = torch.cat([cosine.unsqueeze(-1), sine.unsqueeze(-1) * v], dim=-1)
    sign = torch.where(loc[..., :1] < 0, -1.0, 1.0).to(loc.dtype)
    w = torch.cat([loc[..., :1] + sign, loc[..., 1:]], dim=-1)
    return sign * (w * (w * y).sum(-1, keepdim=True) / (1 + loc[..., :1].abs()) - y)

"""Points around an axis of the sphere in plain torch: the tangent-normal decomposition."""

from __future__ import annotations

import torch
from torch import Tensor

from .philox import normal


def tangent_normal(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> Tensor:
    """R(loc) [cosine, sine v], v uniform on the sphere across the axis.

    R is the isometry that takes e_1 to loc: -sign(loc_1) times the reflection along
    loc + sign(loc_1) e_1, whose length is never below sqrt(2): nothing happens at
    loc = +-e_1.
    """
    wide = torch.promote_types(loc.dtype, torch.float32)
    loc_, y0 = loc.to(wide), cosine.to(wide).unsqueeze(-1)
    tangent = sine.to(wide).unsqueeze(-1) * _direction(loc, cosine, seed).to(wide)
    first, rest, sign, c = _axis(loc_)
    along = (rest * tangent).sum(-1, keepdim=True)
    head = first * y0 + along
    tail = rest * (y0 + along * c) - sign * tangent
    return torch.cat([head, tail], dim=-1).to(loc.dtype)


def tangent_normal_backward(
    grad: Tensor, loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `tangent_normal`, as csrc/math/tangent_normal.h has them."""
    wide = torch.promote_types(loc.dtype, torch.float32)
    loc_, y0 = loc.to(wide), cosine.to(wide).unsqueeze(-1)
    v, s = _direction(loc, cosine, seed).to(wide), sine.to(wide).unsqueeze(-1)
    first, rest, sign, c = _axis(loc_)
    g0, g = grad.to(wide)[..., :1], grad.to(wide)[..., 1:]
    lv, lg = (rest * v).sum(-1, keepdim=True), (rest * g).sum(-1, keepdim=True)
    turned = g0 + c * lg
    grad_first = g0 * y0 - lg * s * lv * c.square()
    grad_rest = turned * s * v + g * (y0 + c * s * lv)
    return (
        torch.cat([grad_first, grad_rest], -1).sum_to_size(loc.shape).to(loc.dtype),
        (first * g0 + lg).squeeze(-1).to(cosine.dtype),
        (lv * turned - sign * (v * g).sum(-1, keepdim=True)).squeeze(-1).to(sine.dtype),
        torch.zeros_like(seed),
    )


def _direction(loc: Tensor, cosine: Tensor, seed: Tensor) -> Tensor:
    n = normal(seed, cosine.shape, loc.shape[-1] - 1)
    return n / n.norm(dim=-1, keepdim=True)


def _axis(loc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first coordinate m, the others, sign(m) and sign(m) / (1 + |m|)."""
    first, rest = loc[..., :1], loc[..., 1:]
    sign = torch.where(first < 0, -1.0, 1.0).to(loc.dtype)
    return first, rest, sign, sign / (1 + first.abs())

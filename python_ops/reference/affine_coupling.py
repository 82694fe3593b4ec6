"""Affine coupling and its log-det-Jacobian, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def scale(raw: Tensor, scale_fn: str, bound: float) -> Tensor:
    """The positive scale s that `scale_fn` makes of the raw one."""
    match scale_fn:
        case "exp":
            return raw.exp()
        case "tanh":
            return (bound * (raw / bound).tanh()).exp()
        case "softclip":
            return (raw / (1 + (raw / bound).abs())).exp()
        case "atan":
            return (bound * 0.636 * (raw / bound).atan()).exp()
        case "sigmoid":
            return (raw + 2).sigmoid()
        case "inv_sigmoid":
            return 1 / (raw + 2).sigmoid()
        case "softplus":
            return (torch.logaddexp(raw, torch.zeros_like(raw)) + 1e-3).clamp(max=3)
    raise ValueError(f"unknown scale_fn {scale_fn!r}")


def affine_coupling(
    x: Tensor,
    params: Tensor,
    *,
    scale_fn: str = "tanh",
    bound: float = 2.0,
    layout: str = "shift_scale",
    order: str = "scale_then_shift",
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """y = x s + t, or (x + t) s, and sum log s; `inverse` solves for x."""
    if layout == "interleaved":
        shift, raw = params[:, 0::2], params[:, 1::2]
    else:
        shift, raw = params.chunk(2, dim=1)
        if layout == "scale_shift":
            shift, raw = raw, shift
    s = scale(raw, scale_fn, bound)
    log_det = s.log().flatten(1).sum(1)
    if inverse:
        return (x - shift) / s if order == "scale_then_shift" else x / s - shift, -log_det
    return x * s + shift if order == "scale_then_shift" else (x + shift) * s, log_det


def affine_coupling_split(
    x: Tensor,
    params: Tensor,
    *,
    transform: str = "second",
    scale_fn: str = "tanh",
    bound: float = 2.0,
    layout: str = "shift_scale",
    order: str = "scale_then_shift",
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Split, couple one part, concatenate."""
    coupled = params.shape[1] // 2
    kept = x.shape[1] - coupled
    first, second = x.split([coupled, kept] if transform == "first" else [kept, coupled], dim=1)
    y, log_det = affine_coupling(
        first if transform == "first" else second,
        params,
        scale_fn=scale_fn,
        bound=bound,
        layout=layout,
        order=order,
        inverse=inverse,
    )
    return torch.cat([y, second] if transform == "first" else [first, y], dim=1), log_det

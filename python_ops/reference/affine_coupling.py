"""Affine coupling and its log-det-Jacobian in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# FrEIA's slope: atan(x) * 0.636 ~ atan(x) * 2 / pi stays inside (-1, 1).
ATAN_SLOPE = 0.636


def log_scale(raw: Tensor, scale_fn: str, bound: float) -> Tensor:
    """log s of the scale s that `scale_fn` makes of the raw parameter."""
    match scale_fn:
        case "exp":
            return raw
        case "tanh":
            return bound * torch.tanh(raw / bound)
        case "softclip":
            return raw / (1 + (raw / bound).abs())
        case "atan":
            return bound * ATAN_SLOPE * torch.atan(raw / bound)
        case "sigmoid":
            return F.logsigmoid(raw + 2)
        case "inv_sigmoid":
            return -F.logsigmoid(raw + 2)
        case "softplus":
            return (F.softplus(raw, threshold=90.0) + 1e-3).clamp(max=3.0).log()
    raise ValueError(f"unknown scale_fn {scale_fn!r}")


def split_params(params: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """(shift, raw scale), each (B, C, *S), of params (B, 2C, *S)."""
    match layout:
        case "shift_scale":
            shift, raw = params.chunk(2, dim=1)
        case "scale_shift":
            raw, shift = params.chunk(2, dim=1)
        case "interleaved":
            shift, raw = params[:, 0::2], params[:, 1::2]
        case _:
            raise ValueError(f"unknown layout {layout!r}")
    return shift, raw


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
    """y = x s + t (or (x + t) s) and log|det dy/dx| = sum log s, row by row."""
    dtype = x.dtype
    compute = torch.promote_types(dtype, torch.float32)
    shift, raw = split_params(params.to(compute), layout)
    x = x.to(compute)
    log_s = log_scale(raw, scale_fn, bound)
    if not inverse:
        y = x * log_s.exp() + shift if order == "scale_then_shift" else (x + shift) * log_s.exp()
    else:
        log_s = -log_s
        y = (x - shift) * log_s.exp() if order == "scale_then_shift" else x * log_s.exp() - shift
    return y.to(dtype), log_s.flatten(1).sum(1)


def affine_coupling_split(
    x: Tensor, params: Tensor, *, transform: str = "second", **options
) -> tuple[Tensor, Tensor]:
    """The whole input in, the whole output out: one part is copied, the other coupled."""
    channels = params.shape[1] // 2
    if transform == "second":
        keep, moved = x[:, : x.shape[1] - channels], x[:, x.shape[1] - channels :]
    else:
        moved, keep = x[:, :channels], x[:, channels:]
    moved, log_det = affine_coupling(moved, params, **options)
    parts = (keep, moved) if transform == "second" else (moved, keep)
    return torch.cat(parts, dim=1), log_det

"""Affine coupling and its log-det-Jacobian in plain torch."""

from __future__ import annotations

from typing import Any

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


def log_scale_slope(raw: Tensor, scale_fn: str, bound: float) -> Tensor:
    """The derivative of `log_scale` in the raw parameter."""
    match scale_fn:
        case "exp":
            return torch.ones_like(raw)
        case "tanh":
            return 1 - torch.tanh(raw / bound).square()
        case "softclip":
            return (1 + (raw / bound).abs()).reciprocal().square()
        case "atan":
            return ATAN_SLOPE / (1 + (raw / bound).square())
        case "sigmoid":
            return torch.sigmoid(-2 - raw)
        case "inv_sigmoid":
            return -torch.sigmoid(-2 - raw)
        case "softplus":
            s = F.softplus(raw, threshold=90.0) + 1e-3
            return torch.where(s <= 3, torch.sigmoid(raw) / s, torch.zeros_like(raw))
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
    x: Tensor, params: Tensor, *, transform: str = "second", **options: Any
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


def affine_coupling_split_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
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
    """The gradients of `affine_coupling_split` in x and params."""
    compute = torch.promote_types(x.dtype, torch.float32)
    channels = params.shape[1] // 2
    start = x.shape[1] - channels if transform == "second" else 0
    shift, raw = split_params(params.to(compute), layout)
    wide_grad = grad_y.to(compute)
    moved, g = (v.narrow(1, start, channels) for v in (x.to(compute), wide_grad))
    sign = -1.0 if inverse else 1.0
    grad_x = g * (sign * log_scale(raw, scale_fn, bound)).exp()
    if order == "scale_then_shift":
        grad_shift = -grad_x if inverse else g
        scaled = moved - shift if inverse else moved
    else:
        grad_shift = -g if inverse else grad_x
        scaled = moved if inverse else moved + shift
    row = grad_log_det.to(compute).reshape(-1, *[1] * (x.ndim - 1))
    grad_raw = sign * (grad_x * scaled + row) * log_scale_slope(raw, scale_fn, bound)
    parts = (
        wide_grad.narrow(1, 0, start),
        grad_x,
        wide_grad.narrow(1, start + channels, x.shape[1] - start - channels),
    )
    if layout == "interleaved":
        grad_params = torch.stack([grad_shift, grad_raw], dim=2).flatten(1, 2)
    else:
        halves = [grad_shift, grad_raw] if layout == "shift_scale" else [grad_raw, grad_shift]
        grad_params = torch.cat(halves, dim=1)
    return torch.cat(parts, dim=1).to(x.dtype), grad_params.to(params.dtype)

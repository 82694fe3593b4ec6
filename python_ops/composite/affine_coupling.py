"""Affine coupling and its log-det-Jacobian in plain torch.

The values of its options stand here, for users and the type checker; the kernels' lists, of the
same names, are in csrc/math/affine_coupling.h and csrc/args/options.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .identity_split import join_channels, split_channels

ScaleFn = Literal[
    "exp", "tanh", "softclip", "atan", "sigmoid", "inv_sigmoid", "softplus", "shifted_softplus",
    "floored_sigmoid", "floored_softplus",
]  # fmt: skip
Layout = Literal["shift_scale", "scale_shift", "interleaved", "interleaved_scale_shift"]
Order = Literal["scale_then_shift", "shift_then_scale"]
Transform = Literal["first", "second", "even", "odd"]
# What kernels do with the log-dets of a row's elements: sum them, or leave them.
KernelReduction = Literal["row", "none"]

# FrEIA's slope: atan(x) * 0.636 ~ atan(x) * 2 / pi stays inside (-1, 1).
ATAN_SLOPE = 0.636


@dataclass(frozen=True)
class Scale:
    """How a raw parameter r becomes a scale s: in words, log s, and its derivative in r."""

    text: str
    log_s: Callable[[Tensor, float], Tensor]
    slope: Callable[[Tensor, float], Tensor]


def _softplus(raw: Tensor) -> Tensor:
    return F.softplus(raw, threshold=90.0) + 1e-3


def _softplus_slope(raw: Tensor, bound: float) -> Tensor:
    s = _softplus(raw)
    return torch.where(s <= 3, torch.sigmoid(raw) / s, torch.zeros_like(raw))


def _floored_sigmoid_slope(raw: Tensor, bound: float) -> Tensor:
    s = torch.sigmoid(raw + 2)
    return s * torch.sigmoid(-2 - raw) / (s + 1e-3)


# log(e - 1): softplus takes it to 1.
SOFTPLUS_SHIFT = 0.5413248546129181
# Below, softplus(v) is e^v (1 - e^v / 2); its logarithm there must not be that of 0.
SOFTPLUS_LOWEST = -20.0


def _log_shifted_softplus(raw: Tensor) -> Tensor:
    v = raw + SOFTPLUS_SHIFT
    low = v < SOFTPLUS_LOWEST
    s = F.softplus(torch.where(low, 0.0, v), threshold=90.0)
    return torch.where(low, v - torch.where(low, v, 0.0).exp() / 2, s.log())


def _log_shifted_softplus_slope(raw: Tensor, bound: float) -> Tensor:
    v = raw + SOFTPLUS_SHIFT
    low = v < SOFTPLUS_LOWEST
    above = torch.where(low, 0.0, v)
    slope = torch.sigmoid(above) / F.softplus(above, threshold=90.0)
    return torch.where(low, 1 - torch.where(low, v, 0.0).exp() / 2, slope)


SCALES: dict[ScaleFn, Scale] = {
    "exp": Scale("log s = r", lambda r, b: r, lambda r, b: torch.ones_like(r)),
    "tanh": Scale(
        "log s = bound tanh(r / bound)",
        lambda r, b: b * torch.tanh(r / b),
        lambda r, b: 1 - torch.tanh(r / b).square(),
    ),
    "softclip": Scale(
        "log s = r / (1 + abs(r / bound))",
        lambda r, b: r / (1 + (r / b).abs()),
        lambda r, b: (1 + (r / b).abs()).reciprocal().square(),
    ),
    "atan": Scale(
        "log s = 0.636 bound atan(r / bound)",
        lambda r, b: b * ATAN_SLOPE * torch.atan(r / b),
        lambda r, b: ATAN_SLOPE / (1 + (r / b).square()),
    ),
    "sigmoid": Scale(
        "s = sigmoid(r + 2)",
        lambda r, b: F.logsigmoid(r + 2),
        lambda r, b: torch.sigmoid(-2 - r),
    ),
    "inv_sigmoid": Scale(
        "s = 1 / sigmoid(r + 2)",
        lambda r, b: -F.logsigmoid(r + 2),
        lambda r, b: -torch.sigmoid(-2 - r),
    ),
    "softplus": Scale(
        "s = clamp(softplus(r) + 1e-3, 0, 3)",
        lambda r, b: _softplus(r).clamp(max=3.0).log(),
        _softplus_slope,
    ),
    "shifted_softplus": Scale(
        "s = softplus(r + log(e - 1))",
        lambda r, b: _log_shifted_softplus(r),
        _log_shifted_softplus_slope,
    ),
    "floored_sigmoid": Scale(
        "s = sigmoid(r + 2) + 1e-3",
        lambda r, b: (torch.sigmoid(r + 2) + 1e-3).log(),
        _floored_sigmoid_slope,
    ),
    "floored_softplus": Scale(
        "s = softplus(r) + 1e-3",
        lambda r, b: _softplus(r).log(),
        lambda r, b: torch.sigmoid(r) / _softplus(r),
    ),
}


def table_of_scales() -> str:
    """The scale functions as the lines of a table in a docstring."""
    rule = "    ================ =============================================="
    rows = [f"    {name:16} {scale.text}" for name, scale in SCALES.items()]
    return "\n".join([rule, *rows, rule]).lstrip()


def scale_of(scale_fn: str) -> Scale:
    """A scale function by name."""
    for name, scale in SCALES.items():
        if name == scale_fn:
            return scale
    raise ValueError(
        f"affine_coupling: `scale_fn` must be one of {', '.join(SCALES)}, got {scale_fn!r}"
    )


def split_params(params: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """(shift, raw scale), each (B, C, *S), of params (B, 2C, *S)."""
    match layout:
        case "shift_scale":
            shift, raw = params.chunk(2, dim=1)
        case "scale_shift":
            raw, shift = params.chunk(2, dim=1)
        case "interleaved":
            shift, raw = params[:, 0::2], params[:, 1::2]
        case "interleaved_scale_shift":
            raw, shift = params[:, 0::2], params[:, 1::2]
        case _:
            raise ValueError(f"unknown layout {layout!r}")
    return shift, raw


def join_params(shift: Tensor, raw: Tensor, layout: str) -> Tensor:
    """`split_params` undone."""
    first, second = (raw, shift) if layout.endswith("scale_shift") else (shift, raw)
    if layout.startswith("interleaved"):
        return torch.stack([first, second], dim=2).flatten(1, 2)
    return torch.cat([first, second], dim=1)


def affine_coupling(
    x: Tensor,
    params: Tensor,
    *,
    scale_fn: str = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: str = "shift_scale",
    order: str = "scale_then_shift",
    inverse: bool = False,
    reduction: str = "row",
) -> tuple[Tensor, Tensor]:
    """y = x s + t (or (x + t) s) and log|det dy/dx| = sum log s of a row, or of each element."""
    dtype = x.dtype
    compute = torch.promote_types(dtype, torch.float32)
    shift, raw = split_params(params.to(compute), layout)
    x = x.to(compute)
    log_s = scale_of(scale_fn).log_s(raw * gain, bound)
    if not inverse:
        y = x * log_s.exp() + shift if order == "scale_then_shift" else (x + shift) * log_s.exp()
    else:
        log_s = -log_s
        y = (x - shift) * log_s.exp() if order == "scale_then_shift" else x * log_s.exp() - shift
    return y.to(dtype), log_s.flatten(1).sum(1) if reduction == "row" else log_s


def affine_coupling_split(
    x: Tensor, params: Tensor, *, transform: str = "second", **options: Any
) -> tuple[Tensor, Tensor]:
    """The whole input in, the whole output out: one part is copied, the other coupled."""
    moved, kept = split_channels(x, params.shape[1] // 2, transform)
    moved, log_det = affine_coupling(moved, params, **options)
    return join_channels(moved, kept, transform), log_det


def affine_coupling_split_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    *,
    transform: str = "second",
    scale_fn: str = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: str = "shift_scale",
    order: str = "scale_then_shift",
    inverse: bool = False,
    reduction: str = "row",
) -> tuple[Tensor, Tensor]:
    """The gradients of `affine_coupling_split` in x and params."""
    compute = torch.promote_types(x.dtype, torch.float32)
    channels = params.shape[1] // 2
    shift, raw = split_params(params.to(compute), layout)
    raw = raw * gain
    moved, _ = split_channels(x.to(compute), channels, transform)
    g, grad_kept = split_channels(grad_y.to(compute), channels, transform)
    sign = -1.0 if inverse else 1.0
    grad_x = g * (sign * scale_of(scale_fn).log_s(raw, bound)).exp()
    if order == "scale_then_shift":
        grad_shift = -grad_x if inverse else g
        scaled = moved - shift if inverse else moved
    else:
        grad_shift = -g if inverse else grad_x
        scaled = moved if inverse else moved + shift
    grad_log = grad_log_det.to(compute)
    if reduction == "row":
        grad_log = grad_log.reshape(-1, *[1] * (x.ndim - 1))
    slope = scale_of(scale_fn).slope(raw, bound) * gain
    grad_raw = sign * (grad_x * scaled + grad_log) * slope
    grad_params = join_params(grad_shift, grad_raw, layout)
    whole = join_channels(grad_x, grad_kept, transform)
    return whole.to(x.dtype), grad_params.to(params.dtype)

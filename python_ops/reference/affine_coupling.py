"""Affine coupling and its log-det-Jacobian, by definition."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ._channels import of_a_part, over_channels


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
        case "shifted_softplus":
            return (1 + (math.e - 1) * raw.exp()).log()
        case "floored_sigmoid":
            return (raw + 2).sigmoid() + 1e-3
        case "floored_softplus":
            return torch.logaddexp(raw, torch.zeros_like(raw)) + 1e-3
    raise ValueError(f"unknown scale_fn {scale_fn!r}")


def _couple(
    x: Tensor,
    params: Tensor,
    scale_fn: str = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: str = "shift_scale",
    order: str = "scale_then_shift",
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """y = x s + t, or (x + t) s, and log s; `inverse` solves for x."""
    if layout.startswith("interleaved"):
        shift, raw = params[:, 0::2], params[:, 1::2]
    else:
        shift, raw = params.chunk(2, dim=1)
    if layout in ("scale_shift", "interleaved_scale_shift"):
        shift, raw = raw, shift
    s = scale(gain * raw, scale_fn, bound)
    if inverse:
        return (x - shift) / s if order == "scale_then_shift" else x / s - shift, -s.log()
    return x * s + shift if order == "scale_then_shift" else (x + shift) * s, s.log()


def affine_coupling(
    x: Tensor, params: Tensor, *, dim: int = 1, reduction: str = "row", **options: object
) -> tuple[Tensor, Tensor]:
    """The coupling with channels along `dim`; log-dets of rows, of their channels or elements."""
    formula = functools.partial(_couple, **options)  # type: ignore[arg-type]
    return over_channels(formula, x, params, dim, reduction)


def affine_coupling_split(
    x: Tensor,
    params: Tensor,
    *,
    transform: str = "second",
    dim: int = 1,
    reduction: str = "row",
    **options: object,
) -> tuple[Tensor, Tensor]:
    """Split, couple one part, concatenate."""
    formula = functools.partial(_couple, **options)  # type: ignore[arg-type]
    return over_channels(of_a_part(formula, 2, transform), x, params, dim, reduction)

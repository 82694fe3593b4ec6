"""Bessel functions from SciPy's exponentially scaled ive, as in published VAE code."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.special import ive
from torch import Tensor

from . import plain


class _LogIv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: float, x: Tensor) -> Tensor:
        wide = x.detach().double()
        scaled = torch.as_tensor(ive(v, wide.numpy()))
        ctx.save_for_backward(wide, scaled)
        ctx.v, ctx.dtype = v, x.dtype
        return (scaled.log() + wide).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        wide, scaled = ctx.saved_tensors
        # I_v' / I_v = I_{v+1} / I_v + v / x
        slope = torch.as_tensor(ive(ctx.v + 1, wide.numpy())) / scaled + ctx.v / wide
        return None, grad * slope.to(ctx.dtype)


class _MeanResultant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kappa: Tensor, dim: int) -> Tensor:
        wide = kappa.detach().double().numpy()
        a = torch.as_tensor(ive(dim / 2, wide) / ive(dim / 2 - 1, wide)).to(kappa.dtype)
        ctx.save_for_backward(kappa, a)
        ctx.dim = dim
        return a

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        kappa, a = ctx.saved_tensors
        return grad * (1 - a * a - (ctx.dim - 1) * a / kappa), None


def log_iv(v: float, x: Tensor) -> Tensor:
    """As log(ive) + x."""
    out: Tensor = _LogIv.apply(v, x)
    return out


def vmf_log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """As v log k - (p/2) log 2 pi - log I_v(k)."""
    v = dim / 2 - 1
    return v * kappa.log() - dim / 2 * math.log(2 * math.pi) - log_iv(v, kappa)


def vmf_mean_resultant(kappa: Tensor, dim: int) -> Tensor:
    """The ratio of two calls of ive; dA = 1 - A^2 - (p - 1) A / k."""
    out: Tensor = _MeanResultant.apply(kappa, dim)
    return out


def vmf_log_prob(x: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    """As log C + k loc.x."""
    return vmf_log_normalizer(concentration, x.shape[-1]) + concentration * (x @ loc)


def stereographic_vmf_log_prob(z: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    """The projection, then the sum of log density and log-det."""
    s, log_det = plain.stereographic(z)
    return vmf_log_prob(s, loc, concentration) + log_det

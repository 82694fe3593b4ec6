"""Samples of the von Mises-Fisher distribution in plain torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .log_iv import iv_ratio_complement, iv_ratio_derivative
from .philox import COSINE, philox, row_keys, uniform

ROUNDS = 32  # a proposal fails with probability at most 0.34: all fail below 1e-14
_WORD = 0xFFFFFFFF
_NODES, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(24))


def along_path(
    kappa: Tensor, cosine: Tensor, sine: Tensor, slope: Tensor, bend: Tensor
) -> tuple[Tensor, Tensor]:
    """The drawn cosine and sine as functions of kappa, by their Taylor polynomials.

    w' = s^2 slope and w'' = s^2 bend, so s' = -w s slope and s'' = -s (slope^2 + w bend).
    The values are as drawn; the first two derivatives are exact.
    """
    step = kappa - kappa.detach()
    first = step * slope
    second = step.square() / 2
    return (
        cosine + sine.square() * (first + second * bend),
        sine * (1 - cosine * first - second * (slope.square() + cosine * bend)),
    )


def vmf_sample_cosine(
    kappa: Tensor, seed: Tensor, dim: int, slopes: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w = loc.x and sqrt(1 - w^2) by Ulrich and Wood's rejection, and w's slope and bend."""
    below, above = _draw(kappa.double(), seed, dim)
    cosine, sine = (above - below) / 2, (above * below).sqrt()
    if slopes:
        slope, bend = _path(kappa.double(), below, above, dim)
    else:
        slope = bend = kappa.new_empty(0)
    wide = torch.promote_types(kappa.dtype, torch.float32)
    return cosine.to(wide), sine.to(wide), slope.to(wide), bend.to(wide)


def _draw(kappa: Tensor, seed: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """1 - w and 1 + w (csrc/math/vmf_sample.h says how)."""
    n = dim - 1
    key, row = (t.unsqueeze(-1) for t in row_keys(seed, kappa.shape))
    trial = torch.arange(ROUNDS, device=kappa.device).expand(*kappa.shape, ROUNDS)
    stream = torch.full_like(trial, COSINE)
    low, high = (row & _WORD).expand(trial.shape), (row >> 32).expand(trial.shape)
    a = philox((2 * trial, low, high, stream), key)
    b = philox((2 * trial + 1, low, high, stream), key)
    gap = torch.log(uniform(a[0], a[1]))
    gap = gap * 2 / (n - 1) if n > 1 else torch.full_like(gap, -math.inf)
    half = uniform(a[2], a[3]) * math.pi
    # 1 -+ r cos(2 half) without cancellation
    r = (-torch.expm1(gap)).sqrt()
    lost = torch.exp(gap) / (1 + r)
    not_e = lost / 2 + r * half.sin().square()
    e = lost / 2 + r * half.cos().square()
    k = kappa.unsqueeze(-1)
    c = torch.sqrt(4 * k * k + n * n)
    ratio = n / (2 * k + c)
    two_ab = (n + 2 * k + c) / 2 * ratio
    scale = not_e + ratio * e
    s = two_ab / scale
    log_ratio = n * torch.log(s / n) - s + 2 * two_ab / (1 + ratio)
    accepted = log_ratio > torch.log(uniform(b[0], b[1]))
    # the first that is accepted, or the last
    accepted = torch.cat([accepted[..., :-1], torch.ones_like(accepted[..., :1])], -1)
    taken = accepted.to(torch.int8).argmax(-1, keepdim=True)
    below, above = 2 * ratio * e / scale, 2 * not_e / scale
    return below.gather(-1, taken).squeeze(-1), above.gather(-1, taken).squeeze(-1)


def _path(kappa: Tensor, below: Tensor, above: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(dw/dkappa) / s^2 and (d^2w/dkappa^2) / s^2 at a fixed quantile, by quadrature.

    csrc/math/vmf_sample.h derives them.
    """
    n = dim - 1
    w, s = (above - below) / 2, (above * below).sqrt().clamp_min(1e-150)
    complement = iv_ratio_complement(dim / 2, kappa)
    rate = iv_ratio_derivative(dim / 2, kappa)
    inner = below < complement
    side = torch.where(inner, -1.0, 1.0).to(w.dtype)
    room = torch.atan2(s, torch.where(inner, w, -w))
    curvature = (kappa * w + (n - 1) / (s * s)).clamp_min(0)
    fall = (side * (kappa * s - (n - 1) * w / s)).clamp_min(0)
    reach = 100 / (fall + (fall * fall + 100 * curvature).sqrt()).clamp_min(1e-150)
    reach = torch.minimum(reach, room)
    rho = (torch.tensor(_NODES, dtype=w.dtype, device=w.device) + 1) / 2
    weight = torch.tensor(_WEIGHTS, dtype=w.dtype, device=w.device) / 2
    half = (side * reach / 2).unsqueeze(-1) * rho
    w_, s_ = w.unsqueeze(-1), s.unsqueeze(-1)
    drop = -2 * half.sin() * (s_ * half.cos() + w_ * half.sin())
    log_sine = torch.log1p(2 * half.sin() * (w_ / s_ * half.cos() - half.sin()))
    g = weight * torch.exp(kappa.unsqueeze(-1) * drop + (n - 1) * log_sine)
    distance = drop + (complement - below).unsqueeze(-1)
    step = reach / s
    slope = (g * distance.abs()).sum(-1) * step
    spread = (g * (distance.square() - rate.unsqueeze(-1))).sum(-1)
    bend = (
        -2 * slope * (complement - below)
        - slope.square() * (kappa * s * s - (n - 2) * w)
        - side * step * spread
    )
    return slope, bend

"""Stereographic projection R^d <-> S^d in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def _power_scale(x: Tensor, rows: Tensor) -> Tensor:
    """2^-e with max|x| in [2^(e-1), 2^e) in the given rows, 1 in the others; no gradient."""
    largest = x.detach().abs().amax(-1, keepdim=True)
    exponent = torch.frexp(torch.where(rows, largest, 1.0)).exponent
    return torch.where(rows, torch.ldexp(torch.ones_like(largest), -exponent), 1.0)


def _image(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The factor f with z rho = f z, then rho, 1 - rho and log rho.

    Where |z|^2 would overflow, |z| >> 1 and a scaled z takes the place of z.
    """
    limit = 1e9 if z.dtype == torch.float32 else 1e50
    far = z.detach().abs().amax(-1, keepdim=True) > limit
    scale = _power_scale(z, far)
    sq = (z * scale).square().sum(-1, keepdim=True)
    half = torch.where(far, sq, sq + 1) / 2
    rho = scale / half * scale
    last = torch.where(far, 1.0, (sq - 1) / (sq + 1))
    # log1p keeps the digits of log rho where |z| = 1
    log_rho = 2 * scale.log() - torch.log1p(torch.where(far, half - 1, (sq - 1) / 2))
    return z * scale / half * scale, rho, last, log_rho


def stereographic(z: Tensor) -> tuple[Tensor, Tensor]:
    """s = [z rho, 1 - rho], rho = 2 / (1 + |z|^2), and log det = d log rho."""
    dtype = z.dtype
    head, _, last, log_rho = _image(z.to(torch.promote_types(dtype, torch.float32)))
    s = torch.cat([head, last], dim=-1)
    return s.to(dtype), z.shape[-1] * log_rho.squeeze(-1)


def stereographic_backward(grad_s: Tensor, grad_log_det: Tensor, z: Tensor) -> Tensor:
    """The gradient of `stereographic` in z."""
    compute = torch.promote_types(z.dtype, torch.float32)
    head, rho, _, _ = _image(z.to(compute))
    g, g_last = grad_s[..., :-1].to(compute), grad_s[..., -1:].to(compute)
    g_log_det = z.shape[-1] * grad_log_det.to(compute).unsqueeze(-1)
    along = rho * g_last - (head * g).sum(-1, keepdim=True) - g_log_det
    return (rho * g + head * along).to(z.dtype)


def _preimage(s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, 1 / (N - l), N and log rho for s = [h, l] of length N.

    On the upper half N - l cancels and is |h|^2 / (N + l) instead.
    """
    head, last = s[..., :-1], s[..., -1:]
    limit = 1e-9 if s.dtype == torch.float32 else 1e-50
    largest = head.detach().abs().amax(-1, keepdim=True)
    scale = _power_scale(head, (largest < limit) & (largest > 0))
    y = head * scale
    sq = y.square().sum(-1, keepdim=True)
    length = (sq / scale / scale + last.square()).sqrt()
    north = last >= 0
    gap = torch.where(north, length, length - last)
    opposite_gap = torch.where(north, length + last, length)
    north_sq = torch.where(north, sq, 1.0)
    north_ratio = opposite_gap / north_sq * scale
    z = torch.where(north, y * north_ratio, head / gap)
    inverse_gap = torch.where(north, north_ratio * scale, 1 / gap)
    cosine = last / length
    polar = cosine > 0.5
    near_pole = torch.log(torch.where(polar, north_sq / (length * opposite_gap), 1.0))
    elsewhere = torch.log1p(-torch.where(polar, 0.0, cosine))
    log_rho = torch.where(polar, near_pole - 2 * scale.log(), elsewhere)
    return z, inverse_gap, length, log_rho


def stereographic_inverse(s: Tensor) -> tuple[Tensor, Tensor]:
    """z = h / (N - l) for s = [h, l] of length N, and the log det of that map, -d log rho."""
    dtype = s.dtype
    z, _, _, log_rho = _preimage(s.to(torch.promote_types(dtype, torch.float32)))
    return z.to(dtype), -z.shape[-1] * log_rho.squeeze(-1)


def stereographic_inverse_backward(grad_z: Tensor, grad_log_det: Tensor, s: Tensor) -> Tensor:
    """The gradient of `stereographic_inverse` in s."""
    compute = torch.promote_types(s.dtype, torch.float32)
    z, inverse_gap, length, _ = _preimage(s.to(compute))
    g, cosine = grad_z.to(compute), s[..., -1:].to(compute) / length
    g_log_det = z.shape[-1] * grad_log_det.to(compute).unsqueeze(-1)
    along = (z * g).sum(-1, keepdim=True)
    head = g * inverse_gap - z * ((along + g_log_det * cosine) / length)
    # 1 + l / N cancels next to the south pole.
    head_sq = s[..., :-1].to(compute).square().sum(-1, keepdim=True)
    rise = torch.where(cosine < 0, head_sq * inverse_gap / length, 1 + cosine)
    last = (along + g_log_det * rise) / length
    return torch.cat([head, last], dim=-1).to(s.dtype)

"""The von Mises-Fisher distribution on S^(p-1) in plain torch, p = dim.

The normaliser and its derivatives are computed in float64 whatever comes in;
densities use |x - loc|^2 instead of 1 - x.loc, which would cancel.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .log_iv import (
    divergence,
    iv_ratio,
    iv_ratio_complement,
    iv_ratio_derivative,
    log_0f1,
    peak,
)
from .stereographic import stereographic

ROUNDS = 32  # a proposal fails with probability at most 0.34: all fail below 1e-14
_NODES, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(24))


def vmf_log_normalizer(kappa: Tensor, dim: float, relative: bool = False) -> Tensor:
    """log C_p(kappa), or log C_p(kappa) - log C_p(0)."""
    out = -log_0f1(dim / 2 - 1, kappa.double())
    return _narrow(out if relative else out + _log_uniform_density(dim), kappa)


def vmf_log_peak(kappa: Tensor, dim: float) -> Tensor:
    """log C_p(kappa) + kappa, the log density at the mode."""
    return _narrow(peak(dim / 2 - 1, kappa.double()) + _log_uniform_density(dim), kappa)


def vmf_divergence(kappa: Tensor, dim: float) -> Tensor:
    """KL(vMF || uniform) = kappa A(kappa) + log C_p(kappa) - log C_p(0)."""
    return divergence(dim / 2 - 1, kappa)


def vmf_mean_resultant(kappa: Tensor, dim: float, complement: bool = False) -> Tensor:
    """A_p(kappa) = I_{p/2}(kappa) / I_{p/2-1}(kappa) = E[loc.x], or 1 - A."""
    return (iv_ratio_complement if complement else iv_ratio)(dim / 2, kappa)


def vmf_concentration(r: Tensor, dim: float, complement: bool = False) -> Tensor:
    """The kappa with A_p(kappa) = r, by Newton steps from Banerjee's estimate."""
    wide = r.double()
    target, rest = (1 - wide, wide) if complement else (wide, 1 - wide)
    ratio = target / (rest * (1 + target))
    kappa = (ratio * (dim - target * target)).detach()
    for _ in range(4):
        kappa = _concentration_step(kappa, ratio.detach(), dim)
    # From the solution on, each step carries one more derivative in r.
    for _ in range(2):
        kappa = _concentration_step(kappa, ratio, dim)
    return _narrow(kappa, r)


def _concentration_step(kappa: Tensor, ratio: Tensor, dim: float) -> Tensor:
    """One Newton step on A / (1 - A^2) = ratio, which is nearly linear in kappa."""
    a, slope = iv_ratio(dim / 2, kappa), iv_ratio_derivative(dim / 2, kappa)
    gap = (1 - a) * (1 + a)
    return kappa + (ratio * gap - a) * gap / (slope * (1 + a * a))


def _log_uniform_density(dim: float) -> float:
    return math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)


def _narrow(out: Tensor, like: Tensor) -> Tensor:
    return out.to(torch.promote_types(like.dtype, torch.float32))


def vmf_log_prob(x: Tensor, loc: Tensor, concentration: Tensor | float) -> Tensor:
    """log C_p(kappa) + kappa - kappa |x - loc|^2 / 2 for unit x and loc."""
    kappa = torch.as_tensor(concentration, dtype=x.dtype, device=x.device).double()
    out = (
        vmf_log_peak(kappa, x.shape[-1]) - kappa * (x.double() - loc.double()).square().sum(-1) / 2
    )
    return out.to(torch.promote_types(x.dtype, torch.float32))


def stereographic_vmf_log_prob(z: Tensor, loc: Tensor, concentration: Tensor | float) -> Tensor:
    """The density of z in R^d when its projection onto S^d is von Mises-Fisher."""
    s, log_det = stereographic(z.double())
    kappa = torch.as_tensor(concentration, dtype=z.dtype, device=z.device).double()
    out = vmf_log_prob(s, loc.double(), kappa) + log_det
    return out.to(torch.promote_types(z.dtype, torch.float32))


def vmf_sample(
    loc: Tensor, concentration: Tensor, sample_shape: torch.Size | tuple[int, ...] = ()
) -> Tensor:
    """Draws of shape (*sample_shape, *batch, p), differentiable in both parameters."""
    dim = loc.shape[-1]
    shape = (*sample_shape, *torch.broadcast_shapes(loc.shape[:-1], concentration.shape))
    w, s2, one_minus_w = _cosine(concentration.detach().double().expand(shape), dim)
    q = _slope(w, s2, one_minus_w, concentration.detach().double(), dim)
    # dw/dkappa = s^2 q; a surrogate that is zero carries the gradient
    kappa = concentration.double()
    path = q * (kappa - kappa.detach())
    s = s2.sqrt()
    cosine = (w + s2 * path).to(loc.dtype).unsqueeze(-1)
    sine = (s - w * s * path).to(loc.dtype).unsqueeze(-1)
    tangent = torch.randn((*shape, dim - 1), dtype=loc.dtype, device=loc.device)
    tangent = tangent / tangent.norm(dim=-1, keepdim=True)
    return _reflect(loc, cosine, sine * tangent)


def _reflect(loc: Tensor, cosine: Tensor, tangent: Tensor) -> Tensor:
    """The isometry that takes e_1 to loc, applied to [cosine, tangent].

    It is -sign(loc_1) times the reflection along loc + sign(loc_1) e_1, whose
    length is never below sqrt(2): nothing happens at loc = +-e_1.
    """
    first, rest = loc[..., :1], loc[..., 1:]
    sign = torch.where(first < 0, -1.0, 1.0).to(loc.dtype)
    along = (rest * tangent).sum(-1, keepdim=True)
    head = first * cosine + along
    tail = rest * (cosine + along * sign / (1 + first.abs())) - sign * tangent
    return torch.cat([head, tail], dim=-1)


def _cosine(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """w = loc.x, 1 - w^2 and 1 - w by Ulrich and Wood's rejection (exact b).

    The proposal's e ~ Beta(n/2, n/2), n = dim - 1, is (1 + r cos f) / 2 with
    1 - r^2 = U^(2/(n-1)), f uniform (Ulrich 1984), which keeps e, 1 - e and
    e (1 - e) to full relative accuracy.
    """
    n = dim - 1
    shape = (ROUNDS, *kappa.shape)
    u, f, accept = torch.rand((3, *shape), dtype=torch.float64, device=kappa.device).unbind(0)
    log_gap = torch.log1p(-u) * 2 / (n - 1) if n > 1 else torch.full_like(u, -math.inf)
    r, half = (-torch.expm1(log_gap)).sqrt(), f * math.pi
    # 1 +- r cos(2 half) without cancellation
    lost = torch.exp(log_gap) / (1 + r)
    low, high = lost + 2 * r * half.sin().square(), lost + 2 * r * half.cos().square()
    e, not_e = high / 2, low / 2
    c = torch.sqrt(4 * kappa * kappa + n * n)
    b = n / (2 * kappa + c)
    a = (n + 2 * kappa + c) / 4
    d = 4 * a * b / (1 + b) - n * math.log(n)
    scale = not_e + b * e
    log_ratio = n * torch.log(2 * a * b / scale) - 2 * a * b / scale + d
    taken = (log_ratio > torch.log1p(-accept)).to(torch.int8).argmax(0, keepdim=True)
    scale, e, not_e = (t.gather(0, taken).squeeze(0) for t in (scale, e, not_e))
    w = (not_e - b * e) / scale
    return w, 4 * b * e * not_e / scale.square(), 2 * b * e / scale


def _slope(w: Tensor, s2: Tensor, one_minus_w: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """q = (dw/dkappa) / (1 - w^2) at fixed quantile, by Gauss-Legendre quadrature.

    With w = cos(theta) and g = exp(kappa cos) sin^(n-1), the density of theta,
    q = int_0^theta (cos f - A) g(f) df / (sin(theta) g(theta)), or minus the same
    integral from theta to pi: on the side of theta away from A its integrand is
    positive.  It is cut where g has fallen by e^-50.
    """
    n = dim - 1
    rho = (torch.tensor(_NODES, dtype=w.dtype, device=w.device) + 1) / 2
    weight = torch.tensor(_WEIGHTS, dtype=w.dtype, device=w.device) / 2
    complement = 1 - iv_ratio(dim / 2, kappa)
    s = s2.sqrt().clamp_min(1e-150)
    theta = torch.atan2(s, w)
    side = torch.where(one_minus_w < complement, -1.0, 1.0)
    curvature = (kappa * w + (n - 1) / (s * s)).clamp_min(0)
    fall = (side * (kappa * s - (n - 1) * w / s)).clamp_min(0)
    reach = 100 / (fall + (fall * fall + 100 * curvature).sqrt()).clamp_min(1e-150)
    reach = torch.minimum(reach, torch.where(side < 0, theta, math.pi - theta))
    step = (side * reach).unsqueeze(-1) * rho
    theta, w1, s1 = theta.unsqueeze(-1), w.unsqueeze(-1), s.unsqueeze(-1)
    drop = -2 * torch.sin(theta + step / 2) * torch.sin(step / 2)
    log_sine = torch.log1p(w1 / s1 * torch.sin(step) - 2 * torch.sin(step / 2).square())
    g = torch.exp(kappa.unsqueeze(-1) * drop + (n - 1) * log_sine)
    distance = (drop + (complement - one_minus_w).unsqueeze(-1)).abs()
    return (g * distance * weight).sum(-1) * reach / s

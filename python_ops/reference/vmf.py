"""The von Mises-Fisher distribution on S^(p-1) in plain torch, p = dim.

The normaliser and its derivatives are computed in float64 whatever comes in;
densities use |x - loc|^2 instead of 1 - x.loc, which would cancel.
"""

from __future__ import annotations

import math

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

"""The von Mises-Fisher distribution on S^(p-1), p = dim, by definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .bessel import iv_ratio, iv_ratio_complement, iv_ratio_with_slope, log_0f1, peak
from .stereographic import stereographic


def _log_uniform(dim: float) -> float:
    return math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)


def vmf_log_normalizer(kappa: Tensor, dim: float, relative: bool = False) -> Tensor:
    """log C_p(kappa), or log C_p(kappa) - log C_p(0) = -log 0F1(; p / 2; kappa^2 / 4)."""
    return (0.0 if relative else _log_uniform(dim)) - log_0f1(dim / 2 - 1, kappa)


def vmf_log_peak(kappa: Tensor, dim: float) -> Tensor:
    """log C_p(kappa) + kappa."""
    return _log_uniform(dim) + peak(dim / 2 - 1, kappa)


def vmf_mean_resultant(kappa: Tensor, dim: float, complement: bool = False) -> Tensor:
    """A_p(kappa) = I_{p/2}(kappa) / I_{p/2-1}(kappa), or 1 - A."""
    return (iv_ratio_complement if complement else iv_ratio)(dim / 2, kappa)


def vmf_divergence(kappa: Tensor, dim: float) -> Tensor:
    """kappa A_p(kappa) + log C_p(kappa) - log C_p(0)."""
    return kappa * vmf_mean_resultant(kappa, dim) + vmf_log_normalizer(kappa, dim, relative=True)


def vmf_concentration(r: Tensor, dim: float, complement: bool = False) -> Tensor:
    """The kappa with A_p(kappa) = r, by Newton's steps."""
    r = r.double()
    ratio, rest = (1 - r, r) if complement else (r, 1 - r)
    kappa = (ratio * (dim - ratio**2) / (rest * (1 + ratio))).detach()
    for step in range(12):
        # At the solution two steps more carry two derivatives in r.
        wanted = r if step >= 10 else r.detach()
        found, slope = iv_ratio_with_slope(dim / 2, kappa)
        if complement:
            found, slope = iv_ratio_complement(dim / 2, kappa), -slope
        kappa = kappa - (found - wanted) / slope
    return kappa


def vmf_log_prob(x: Tensor, loc: Tensor, concentration: Tensor | float) -> Tensor:
    """log C_p(kappa) + kappa - kappa |x - loc|^2 / 2: kappa x.loc for x and loc of length 1."""
    kappa = torch.as_tensor(concentration, dtype=torch.float64, device=x.device)
    apart = (x.double() - loc.double()).square().sum(-1)
    return vmf_log_peak(kappa, x.shape[-1]) - kappa * apart / 2


def stereographic_vmf_log_prob(z: Tensor, loc: Tensor, concentration: Tensor | float) -> Tensor:
    """The density on R^d of z whose projection onto S^d is von Mises-Fisher."""
    s, log_det = stereographic(z.double())
    return vmf_log_prob(s, loc, concentration) + log_det

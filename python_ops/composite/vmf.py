"""The von Mises-Fisher distribution on S^(p-1) in plain torch, p = dim.

The normaliser and its derivatives are computed in float64 whatever comes in;
densities use |x - loc|^2 instead of 1 - x.loc, which would cancel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._declaration import call
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


# ---- densities, by way of the ops of the radial functions ---------------------------------


def _peak(concentration: Tensor, dim: int) -> Tensor:
    out: Tensor = call("bessel", concentration, dim / 2 - 1, "vmf_log_peak")
    return out


def _peak_slope(concentration: Tensor, dim: int) -> Tensor:
    out: Tensor = call("bessel", concentration, dim / 2 - 1, "vmf_mean_resultant_complement")
    return out


def batch_of(x: Tensor, loc: Tensor, concentration: Tensor) -> torch.Size:
    """The shape to which the batches of three arguments broadcast."""
    return torch.broadcast_shapes(x.shape[:-1], loc.shape[:-1], concentration.shape)


def vmf_log_prob(x: Tensor, loc: Tensor, concentration: Tensor, grad_loc: bool) -> Tensor:
    """log C_p(kappa) + kappa - kappa |x - loc|^2 / 2 for unit x and loc."""
    kappa = concentration.to(torch.promote_types(x.dtype, torch.float32))
    return _peak(kappa, x.shape[-1]) - kappa * (x - loc).square().sum(-1) / 2


def vmf_log_prob_backward(
    grad: Tensor, x: Tensor, loc: Tensor, concentration: Tensor, grad_loc: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `vmf_log_prob`."""
    difference = x - loc
    shape = batch_of(x, loc, concentration)
    along = (grad * concentration).unsqueeze(-1) * difference
    rest = _peak_slope(concentration, x.shape[-1]) - difference.square().sum(-1) / 2
    return (
        (-along).sum_to_size(x.shape).to(x.dtype),
        along.sum_to_size(loc.shape).to(loc.dtype),
        (grad * rest).expand(shape).sum_to_size(concentration.shape).to(concentration.dtype),
    )


def stereographic_vmf_log_prob(
    z: Tensor, loc: Tensor, concentration: Tensor, grad_loc: bool
) -> Tensor:
    """The density of z in R^d when its projection onto S^d is von Mises-Fisher."""
    point, log_det = stereographic(z.to(torch.promote_types(z.dtype, torch.float32)))
    return vmf_log_prob(point, loc, concentration, grad_loc) + log_det


def stereographic_vmf_log_prob_backward(
    grad: Tensor, z: Tensor, loc: Tensor, concentration: Tensor, grad_loc: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `stereographic_vmf_log_prob`."""
    wide = torch.promote_types(z.dtype, torch.float32)
    zw, shape = z.to(wide), batch_of(z, loc, concentration)
    square = zw.square().sum(-1, keepdim=True)
    rho = 2 / (1 + square)
    s, last = zw * rho, (square - 1) / (square + 1)
    difference, rest = s - loc[..., :-1], last - loc[..., -1:]
    along = (grad * concentration).unsqueeze(-1)
    radial = along * ((s * difference).sum(-1, keepdim=True) - rho * rest)
    grad_z = -along * rho * difference + s * (radial - z.shape[-1] * grad.unsqueeze(-1))
    total = difference.square().sum(-1) + rest.squeeze(-1).square()
    slope = _peak_slope(concentration, loc.shape[-1]) - total / 2
    return (
        grad_z.sum_to_size(z.shape).to(z.dtype),
        (along * torch.cat([difference, rest.expand(*difference.shape[:-1], 1)], -1))
        .sum_to_size(loc.shape)
        .to(loc.dtype),
        (grad * slope).expand(shape).sum_to_size(concentration.shape).to(concentration.dtype),
    )

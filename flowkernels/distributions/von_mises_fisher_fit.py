"""Concentrations of the von Mises-Fisher distribution from the length of the mean resultant."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from .. import ops

__all__ = ["Correction", "concentration_of", "corrected_concentration"]

Correction = Literal["none", "marginal", "resultant"]
CORRECTIONS: tuple[str, ...] = get_args(Correction)
_ROUNDS = 200  # Newton's method needs about ten; the bound is that of bisection


def concentration_of(r: Tensor, complement: Tensor, dim: int) -> Tensor:
    """The kappa with A_p(kappa) = r, from 1 - r where r > 1/2."""
    near = r > 0.5
    from_r = ops.vmf_concentration(torch.where(near, 0.5, r), dim)
    from_complement = ops.vmf_concentration(
        torch.where(near, complement, 0.5), dim, complement=True
    )
    return torch.where(near, from_complement, from_r)


def corrected_concentration(
    r: Tensor, complement: Tensor, count: Tensor, dim: int, correction: str
) -> Tensor:
    """The concentration by "resultant" or "marginal", in float64.

    Args:
        r: length of the mean.
        complement: 1 - r.
        count: the effective number of samples, >= 1.
        dim: p.
        correction: of `Correction`, not "none".
    """
    r, complement, count = r.double(), complement.double(), count.double()
    # E r^2 = A^2 + (1 - A^2) / n, hence 1 - A^2 from (1 - r^2) n / (n - 1).
    spread = complement * (1 + r) * (count / (count - 1))
    long = (1 - spread).clamp_min(0).sqrt()
    start = concentration_of(long, spread / (1 + long), dim)
    start = torch.where(spread < 1, start, 0.0)
    if correction == "resultant":
        return start
    return _marginal(r, complement, count, dim, start)


def _marginal(r: Tensor, complement: Tensor, count: Tensor, dim: int, start: Tensor) -> Tensor:
    """The largest root of A(kappa) = r A(n r kappa), or 0 if n r^2 <= 1.

    Newton's method, with bisection where a step leaves the interval known to hold the root.
    """
    length = count * r
    some = length * r > 1
    low, high = torch.zeros_like(r), concentration_of(r, complement, dim)
    kappa = torch.where((start > 0) & (start < high), start, high / 2)
    for _ in range(_ROUNDS):
        excess, slope = _excess(kappa, r, complement, length, dim)
        above = excess >= 0
        low, high = torch.where(above, low, kappa), torch.where(above, kappa, high)
        step = kappa - excess / slope
        inside = (step > low) & (step < high)
        following = torch.where(inside, step, (low + high) / 2)
        settled = (following - kappa).abs() <= 4e-16 * kappa
        kappa = torch.where(settled, kappa, following)
        if (settled | ~some).all():
            break
    return torch.where(some, kappa, 0.0)


def _excess(
    kappa: Tensor, r: Tensor, complement: Tensor, length: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """A(kappa) - r A(n r kappa), and its derivative."""
    with torch.enable_grad():
        leaf = kappa.detach().requires_grad_()
        near = r > 0.5
        inner = length * leaf
        plain = ops.vmf_mean_resultant(leaf, dim) - r * ops.vmf_mean_resultant(inner, dim)
        ours = ops.vmf_mean_resultant(leaf, dim, complement=True)
        theirs = ops.vmf_mean_resultant(inner, dim, complement=True)
        excess = torch.where(near, complement + r * theirs - ours, plain)
        (slope,) = torch.autograd.grad(excess.sum(), leaf)
    return excess.detach(), slope

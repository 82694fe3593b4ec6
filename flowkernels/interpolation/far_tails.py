"""Logarithms of tail probabilities that underflow, and their inverses.

A latent of a trained flow can lie hundreds of standard deviations from the mean; its tail
probability is 1e-2000, which only a logarithm can represent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["log_gamma_tail", "log_normal_tail_inverse"]

_TERMS = 80
# Tails above this are computed by torch's functions directly.
_SMALL = 1e-250


def log_gamma_tail(shape: float, y: Tensor, upper: bool) -> Tensor:
    """log Q(a, y) or log P(a, y), the regularised incomplete gamma functions, at any y >= 0.

    Computed by torch's functions. Where those nearly underflow: the continued fraction DLMF 8.9.2
    for Q (y is then far above a), or the series DLMF 8.11.4 for P (y is then far below a).

    Args:
        shape: a > 0.
        y: float64.
        upper: Q, else P.

    Example:
        >>> y = torch.tensor([0.5, 5000.0], dtype=torch.float64)
        >>> log_gamma_tail(1.0, y, upper=True).tolist()  # log of exp(-y)
        [-0.5, -5000.0]
    """
    a = torch.full_like(y, shape)
    direct = (torch.special.gammaincc if upper else torch.special.gammainc)(a, y)
    far = direct < _SMALL
    log_direct = torch.where(far, 1.0, direct).log()
    # Replaced where the other formula applies: infinities would reach the gradients.
    where = torch.where(far, y, 2.0 * shape + 600 if upper else shape / 4)
    factor = _fraction(shape, where) if upper else _series(shape, where)
    log_far = shape * where.clamp_min(1e-300).log() - where - math.lgamma(shape) + factor
    return torch.where(far, log_far, log_direct)


def _fraction(a: float, y: Tensor) -> Tensor:
    """log of 1/(b_0 + a_1/(b_1 + ...)), b_n = y + 2n + 1 - a, a_n = n (a - n)."""
    below = y + (2 * _TERMS + 1 - a)
    for n in range(_TERMS, 0, -1):
        below = y + (2 * n - 1 - a) + n * (a - n) / below
    return -below.log()


def _series(a: float, y: Tensor) -> Tensor:
    """log of sum_n y^n / (a (a + 1) ... (a + n))."""
    total = torch.ones_like(y)
    for n in range(_TERMS, 0, -1):
        total = 1 + total * (y / (a + n))
    return total.log() - math.log(a)


def log_normal_tail_inverse(log_tail: Tensor) -> Tensor:
    """The x with log Phi(x) = log_tail, float64, for any log_tail <= 0.

    Newton's method on the logarithm, which is nearly a parabola in the tail; the last step is
    differentiable.

    Example:
        >>> x = log_normal_tail_inverse(torch.tensor([-5000.0, math.log(0.5)], dtype=torch.float64))
        >>> torch.special.log_ndtr(x).tolist()
        [-5000.0, -0.6931471805599453]
    """
    with torch.no_grad():
        far = log_tail < -500
        squared = -2 * torch.where(far, log_tail, -500.0)
        start = -(squared - squared.log() - math.log(2 * math.pi)).sqrt()
        x = torch.where(far, start, torch.special.ndtri(log_tail.exp()))
        for _ in range(2):
            x = torch.where(far, _newton(x, log_tail), x)
    step = _newton(x.detach(), log_tail)
    # For a tail near 1 its logarithm has lost the digits; invert the tail directly.
    return torch.where(log_tail < -1e-3, step, torch.special.ndtri(log_tail.exp()))


def _newton(x: Tensor, log_tail: Tensor) -> Tensor:
    with torch.no_grad():
        reached = torch.special.log_ndtr(x)
        slope = torch.exp(reached + x.square() / 2 + 0.5 * math.log(2 * math.pi))
    return x + torch.where(slope.isfinite(), (log_tail - reached) * slope, 0.0)

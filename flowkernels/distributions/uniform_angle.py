r"""Means over the angle between a uniform point of the sphere and a fixed direction.

The angle theta of a uniform point of S^n has a density proportional to sin^(n-1) theta. With
tan(theta / 2) = e^y the density of y on the line is proportional to sech^n y, and
sin theta = sech y, cos theta = -tanh y. The trapezoidal rule in y converges geometrically.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["uniform_angle"]

_DIGITS = 45.0  # the rule's error is about e^-45 of the largest term, a rest left out e^-42
_LEFT_OUT = 42.0
_FARTHEST = 39.0  # log of the largest sigma = 2 rho / (1 - rho^2) in float64, and some more


def uniform_angle(dim: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sin^2, cos^2 and weights (summing to 1) at nodes of the angle of a uniform point of S^(p-1).

    In float64, on the device of `like`. For even functions of the cosine whose singularities in y
    have an imaginary part of pi/2, such as functions of 1 + sigma^2 sin^2. If such a function
    grows at most as 1 / sin^4, up to sin = 1 / sigma, the mean's relative error is a few roundings.

    Args:
        dim: p >= 2.
        like: a tensor.

    Example:
        >>> sine2, cosine2, weight = uniform_angle(5, torch.ones(()))
        >>> (weight * cosine2).sum()  # 1 / p
        tensor(0.2000, dtype=torch.float64)
    """
    n = dim - 1
    count, step = _nodes(n)
    y = (torch.arange(count, dtype=torch.float64, device=like.device) + 0.5) * step
    square = y.sinh().square()
    log_cosh = torch.log1p(square) / 2
    weight = (-n * log_cosh).exp()
    return (1 + square).reciprocal(), square / (1 + square), weight / weight.sum()


def _nodes(n: int) -> tuple[int, float]:
    """The number of nodes y > 0 and their distance h: 406 for n = 1, 96 for n = 7, 15 for n = 999.

    In the strip |Im y| <= a the weight is at most 1 / cos^n a, so the rule's error is
    e^(-2 pi a / h) / cos^n a. At the best a, tan a = 2 pi / (n h) = T and the error is
    e^(-n (T atan T - log(1 + T^2) / 2)).
    """
    aim = _DIGITS / n
    tangent = aim + math.sqrt(2 * aim)
    for _ in range(8):  # Newton's method, from above, on a convex function
        angle = math.atan(tangent)
        tangent -= (tangent * angle - math.log1p(tangent * tangent) / 2 - aim) / angle
    step = 2 * math.pi / (n * tangent)
    # Either the tail of sech^(n-4) is small, or that of sech^n beyond all sigma.
    end = _FARTHEST + _LEFT_OUT / n
    if n > 4:
        fall = _LEFT_OUT / (n - 4)
        end = min(end, fall + math.log1p(math.sqrt(-math.expm1(-2 * fall))))
    return math.ceil(end / step), step

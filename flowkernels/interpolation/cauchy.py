"""Paths that keep the law of their ends: the Cauchy law is closed under straight lines.

Lesniak, Sieradzki & Podolak, "On Latent Distributions Without Finite Mean in Generative
Models" (arXiv 1806.01670): of two independent standard Cauchy numbers (1-t) x + t y is one
again. A path that goes to the Cauchy law, straight on, and back keeps any law.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels import ops

from .marginals import Chi, Marginal, StandardCauchy, StandardNormal
from .paths import Path, aligned, norm, register_path

_CAUCHY = StandardCauchy()


def to_cauchy(x: Tensor, marginal: Marginal) -> Tensor:
    """The number with x's place in the standard Cauchy law, by the smaller of x's tails."""
    lower, upper = marginal.cdf(x), marginal.sf(x)
    return torch.where(lower < upper, _CAUCHY.icdf(lower), _CAUCHY.isf(upper))


def from_cauchy(x: Tensor, marginal: Marginal) -> Tensor:
    """The number with x's place in the marginal's law."""
    lower, upper = _CAUCHY.cdf(x), _CAUCHY.sf(x)
    return torch.where(lower < upper, marginal.icdf(lower), marginal.isf(upper))


def cauchy_linear(marginal: Marginal) -> Path:
    """The path that keeps a law of independent coordinates, each of the given marginal.

    g((1-t) g^-1(a) + t g^-1(b)) for every coordinate, g = F^-1 o F_Cauchy (Lesniak et al.,
    section 3.2). Computed in float64, returned in the dtype of the ends.

    Args:
        marginal: of a coordinate.

    Example:
        >>> path = cauchy_linear(StandardNormal())
        >>> a, b = torch.randn(2, 50_000, 1)
        >>> round(path(a, b, 0.3).std().item(), 1)
        1.0
    """

    def path(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
        dtype = a.dtype
        a, b, t = aligned(a.double(), b.double(), t)
        line = (1 - t) * to_cauchy(a, marginal) + t * to_cauchy(b, marginal)
        return from_cauchy(line, marginal).to(dtype)

    return path


def spherical_cauchy_linear(radial: Marginal) -> Path:
    """The path that keeps an isotropic law whose length has the given marginal.

    The directions of slerp at the lengths g((1-t) g^-1(|a|) + t g^-1(|b|)),
    g = F_|Z|^-1 o F_Cauchy (Lesniak et al., section 3.3). The lengths are computed in
    float64; the result has the dtype of the ends.

    Args:
        radial: of the length; :class:`Chi` for a Gaussian.

    Example:
        >>> path = spherical_cauchy_linear(Chi(100))
        >>> a, b = torch.randn(2, 1000, 100)
        >>> round(path(a, b, 0.5).norm(dim=-1).mean().item(), 1)
        10.0
    """

    def path(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
        direction = ops.slerp(a, b, t)
        a, b, t = aligned(a.double(), b.double(), t)
        line = (1 - t) * to_cauchy(norm(a), radial) + t * to_cauchy(norm(b), radial)
        return direction * from_cauchy(line, radial).to(direction.dtype)

    return path


@register_path("cauchy_linear")
def _gaussian_cauchy_linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """For a standard Gaussian."""
    return cauchy_linear(StandardNormal())(a, b, t)


@register_path("spherical_cauchy_linear")
def _gaussian_spherical_cauchy_linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """For a standard Gaussian."""
    return spherical_cauchy_linear(Chi(a.shape[-1]))(a, b, t)

"""Distribution-preserving paths, by way of the Cauchy distribution.

Lesniak, Sieradzki & Podolak, "On Latent Distributions Without Finite Mean in Generative
Models" (arXiv 1806.01670): if x and y are independent standard Cauchy, so is (1-t) x + t y.
Mapping the end points to Cauchy variables, interpolating linearly and mapping back therefore
preserves any distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.synchronization import readable_without_sync

from .marginals import Chi, FarTails, Marginal, StandardCauchy, StandardNormal
from .paths import Path, aligned, norm, register_path

_CAUCHY = StandardCauchy()
# Cauchy values above exp(_FAR) are rescaled: float64 overflows at e^709.
_FAR = 600.0


def to_cauchy(x: Tensor, marginal: Marginal) -> Tensor:
    """The standard Cauchy value at the quantile of x, from the smaller of x's tails."""
    lower, upper = marginal.cdf(x), marginal.sf(x)
    return torch.where(lower < upper, _CAUCHY.icdf(lower), _CAUCHY.isf(upper))


def from_cauchy(x: Tensor, marginal: Marginal) -> Tensor:
    """The marginal's value at the quantile of the standard Cauchy value x."""
    lower, upper = _CAUCHY.cdf(x), _CAUCHY.sf(x)
    return torch.where(lower < upper, marginal.icdf(lower), marginal.isf(upper))


def line_through_cauchy(a: Tensor, b: Tensor, t: Tensor, marginal: Marginal) -> Tensor:
    """g((1-t) g^-1(a) + t g^-1(b)), g = F^-1 o F_Cauchy, for float64 tensors that broadcast.

    A tail of e^-1500 maps to a Cauchy value of e^1500, so far points are computed in logarithms.
    That needs a marginal with :class:`FarTails`; without it they saturate.
    """
    if not isinstance(marginal, FarTails):
        line = (1 - t) * to_cauchy(a, marginal) + t * to_cauchy(b, marginal)
        return from_cauchy(line, marginal)
    far = torch.maximum(_log_size(a, marginal), _log_size(b, marginal)) > _FAR
    middle = marginal.icdf(a.new_full((), 0.5))
    near_a, near_b = torch.where(far, middle, a), torch.where(far, middle, b)
    line = (1 - t) * to_cauchy(near_a, marginal) + t * to_cauchy(near_b, marginal)
    near = from_cauchy(line, marginal)
    if readable_without_sync(far) and not far.any():
        return near
    far_a, far_b = torch.where(far, a, middle), torch.where(far, b, middle)
    return torch.where(far, _far_line(far_a, far_b, t, marginal), near)


def _log_size(x: Tensor, marginal: FarTails) -> Tensor:
    """log |Cauchy value of x| up to a constant: minus the log of the smaller tail."""
    with torch.no_grad():
        return -torch.minimum(marginal.log_tail(x, upper=False), marginal.log_tail(x, upper=True))


def _far_line(a: Tensor, b: Tensor, t: Tensor, marginal: FarTails) -> Tensor:
    """:func:`line_through_cauchy` on Cauchy values divided by e^scale."""
    with torch.no_grad():
        share_a = _log_size(a, marginal) + (1 - t).log()
        share_b = _log_size(b, marginal) + t.log()
        scale = (torch.maximum(share_a, share_b) - _FAR).clamp_min(0)
    line = (1 - t) * _scaled(a, marginal, scale) + t * _scaled(b, marginal, scale)
    upper = line > 0
    # Log of the tail: 1 / (pi |c|) for large |c|, otherwise the exact survival function.
    log_c = line.abs().clamp_min(1e-300).log() + scale
    small = _CAUCHY.sf(torch.exp(log_c.clamp_max(30)))
    log_tail = torch.where(log_c > 30, -log_c - math.log(math.pi), small.log())
    return torch.where(
        upper,
        marginal.from_log_tail(log_tail, upper=True),
        marginal.from_log_tail(log_tail, upper=False),
    )


def _scaled(x: Tensor, marginal: FarTails, scale: Tensor) -> Tensor:
    """The Cauchy value of x divided by e^scale; saturated at e^700, where its weight is 0."""
    lower, upper = marginal.log_tail(x, upper=False), marginal.log_tail(x, upper=True)
    log_tail = torch.minimum(lower, upper)
    # The inverse: 1 / (pi q) in the tail, the cotangent near the median.
    far = torch.exp((-log_tail - math.log(math.pi) - scale).clamp_max(700))
    near = _CAUCHY.isf(torch.exp(log_tail.clamp_min(-30))) * torch.exp(-scale)
    size = torch.where(log_tail < -30, far, near)
    return torch.where(upper < lower, size, -size)


def cauchy_linear(marginal: Marginal) -> Path:
    """The path that preserves a distribution of i.i.d. coordinates with the given marginal.

    g((1-t) g^-1(a) + t g^-1(b)) for every coordinate, g = F^-1 o F_Cauchy (Lesniak et al.,
    section 3.2). Computed in float64, returned in the dtype of the ends.

    Args:
        marginal: distribution of a coordinate.

    Example:
        >>> path = cauchy_linear(StandardNormal())
        >>> a, b = torch.randn(2, 50_000, 1)
        >>> round(path(a, b, 0.3).std().item(), 1)
        1.0
    """

    def path(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
        dtype = a.dtype
        a, b, t = aligned(a.double(), b.double(), t)
        return line_through_cauchy(a, b, t, marginal).to(dtype)

    return path


def spherical_cauchy_linear(radial: Marginal) -> Path:
    """The path that preserves an isotropic distribution whose length has the given marginal.

    The directions of slerp at the lengths g((1-t) g^-1(|a|) + t g^-1(|b|)),
    g = F_|Z|^-1 o F_Cauchy (Lesniak et al., section 3.3). The lengths are computed in
    float64; the result has the dtype of the ends.

    Args:
        radial: distribution of the length; :class:`Chi` for a Gaussian.

    Example:
        >>> path = spherical_cauchy_linear(Chi(100))
        >>> a, b = torch.randn(2, 1000, 100)
        >>> round(path(a, b, 0.5).norm(dim=-1).mean().item(), 1)
        10.0
    """

    def path(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
        direction = ops.slerp(a, b, t)
        a, b, t = aligned(a.double(), b.double(), t)
        length = line_through_cauchy(norm(a), norm(b), t, radial)
        return direction * length.to(direction.dtype)

    return path


@register_path("cauchy_linear")
def _gaussian_cauchy_linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """For a standard Gaussian."""
    return cauchy_linear(StandardNormal())(a, b, t)


@register_path("spherical_cauchy_linear")
def _gaussian_spherical_cauchy_linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """For a standard Gaussian."""
    return spherical_cauchy_linear(Chi(a.shape[-1]))(a, b, t)

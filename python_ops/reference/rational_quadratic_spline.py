"""Monotonic rational-quadratic splines, by definition (Durkan et al., arXiv 1906.04032)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ._channels import of_a_part, over_channels


def _knots(raw: Tensor, smallest: float, bound: float) -> Tensor:
    """The K + 1 knots of K bins."""
    widths = smallest + (1 - smallest * raw.shape[-1]) * raw.softmax(-1)
    zero = torch.zeros_like(widths[..., :1])
    return bound * (2 * torch.cat([zero, widths.cumsum(-1)], -1) - 1)


def _clipped(raw: Tensor, limit: float) -> Tensor:
    return raw / (1 + (raw / limit).abs())


def _count(bins: int, boundary: str) -> int:
    return {"linear": 3 * bins - 1, "circular": 3 * bins, "none": 3 * bins + 1}[boundary]


def _transform(
    x: Tensor,
    params: Tensor,
    bins: int = 8,
    bound: float = 3.0,
    boundary: str = "linear",
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
    convention: str = "nflows",
    scale: float = 1.0,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """The curve of the paper's eq. 4 and the logarithm of its derivative, eq. 5."""
    count = _count(bins, boundary)
    raw = params.unflatten(1, (params.shape[1] // count, count)).movedim(2, -1)
    widths, heights, derivatives = raw.split([bins, bins, count - 2 * bins], -1)
    widths, heights = scale * widths, scale * heights
    if convention == "zuko":
        limit = math.log(min_derivative)
        widths, heights = _clipped(widths, limit / 2), _clipped(heights, limit / 2)
        derivatives = _clipped(derivatives, limit).exp()
        min_width = min_height = 0.0
    else:
        derivatives = min_derivative + derivatives.logaddexp(torch.zeros_like(derivatives))
    xs, ys = _knots(widths, min_width, bound), _knots(heights, min_height, bound)
    one = torch.ones_like(xs[..., :1])
    if boundary == "linear":
        derivatives = torch.cat([one, derivatives, one], -1)
    elif boundary == "circular":
        derivatives = torch.cat([derivatives, derivatives[..., :1]], -1)

    inside = x.abs() <= bound
    searched = ys if inverse else xs
    k = ((x[..., None] >= searched).sum(-1, keepdim=True) - 1).clamp(0, bins - 1)

    def at(knots: Tensor, beyond: int = 0) -> Tensor:
        return knots.gather(-1, k + beyond)[..., 0]

    left, right, bottom, top = at(xs), at(xs, 1), at(ys), at(ys, 1)
    d0, d1 = at(derivatives), at(derivatives, 1)
    s = (top - bottom) / (right - left)
    if inverse:
        rise = torch.where(inside, x - bottom, torch.zeros_like(x))
        a = (top - bottom) * (s - d0) + rise * (d0 + d1 - 2 * s)
        b = (top - bottom) * d0 - rise * (d0 + d1 - 2 * s)
        c = -s * rise
        u = 2 * c / (-b - (b.square() - 4 * a * c).sqrt())
        y = left + u * (right - left)
    else:
        u = torch.where(inside, (x - left) / (right - left), torch.zeros_like(x))
    denominator = s + (d0 + d1 - 2 * s) * u * (1 - u)
    if not inverse:
        y = bottom + (top - bottom) * (s * u.square() + d0 * u * (1 - u)) / denominator
    slope = d1 * u.square() + 2 * s * u * (1 - u) + d0 * (1 - u).square()
    log_det = (s.square() * slope / denominator.square()).log()
    if inverse:
        log_det = -log_det
    y = torch.where(inside, y, x)
    log_det = torch.where(inside, log_det, torch.zeros_like(x))
    return y, log_det


def rational_quadratic_spline(
    x: Tensor, params: Tensor, *, dim: int = 1, reduction: str = "row", **options: object
) -> tuple[Tensor, Tensor]:
    """The spline with channels along `dim`; log-dets of rows, of their channels or elements."""
    formula = functools.partial(_transform, **options)  # type: ignore[arg-type]
    return over_channels(formula, x, params, dim, reduction)


def rational_quadratic_spline_split(
    x: Tensor,
    params: Tensor,
    *,
    transform: str = "second",
    bins: int = 8,
    boundary: str = "linear",
    dim: int = 1,
    reduction: str = "row",
    **options: object,
) -> tuple[Tensor, Tensor]:
    """Split, transform one part, concatenate."""
    formula = functools.partial(_transform, bins=bins, boundary=boundary, **options)  # type: ignore[arg-type]
    split = of_a_part(formula, _count(bins, boundary), transform)
    return over_channels(split, x, params, dim, reduction)

"""Rational-quadratic splines in plain torch, as csrc/math/rational_quadratic_spline.h has them.

The values of the op's options stand here, for users and the type checker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .identity_split import join_channels, split_channels

Boundary = Literal["linear", "circular", "none"]
Convention = Literal["nflows", "normflows", "zuko"]

# Parameters of an element beside 3 for each bin.
EXTRA: dict[Boundary, int] = {"linear": -1, "circular": 0, "none": 1}


def parameter_count(bins: int, boundary: Boundary) -> int:
    """How many raw parameters an element has: widths, heights, derivatives."""
    return 3 * bins + EXTRA[boundary]


@dataclass(frozen=True)
class Options:
    """The options of `rational_quadratic_spline` that change its formulas."""

    bins: int
    bound: float
    boundary: Boundary
    min_width: float
    min_height: float
    min_derivative: float
    convention: Convention
    scale: float
    inverse: bool

    @property
    def clip(self) -> float:
        """zuko: raw widths and heights become r / (1 + |clip r|), derivatives with half of it."""
        return -2 / math.log(self.min_derivative) if self.convention == "zuko" else 0.0

    @property
    def smallest(self) -> tuple[float, float]:
        """The least width and height of a bin, relative to the interval."""
        return (0.0, 0.0) if self.convention == "zuko" else (self.min_width, self.min_height)

    @property
    def parts(self) -> int:
        return parameter_count(self.bins, self.boundary)


class _Bins(NamedTuple):
    """Bins along one axis: (*, K) softmax and widths, (*, K + 1) knots."""

    softmax: Tensor
    widths: Tensor
    knots: Tensor


class _Curve(NamedTuple):
    """A spline where the points lie; see the C++ header for the letters."""

    xs: _Bins
    ys: _Bins
    k: Tensor
    raw: Tensor
    d: tuple[Tensor, Tensor]
    s: Tensor
    u: Tensor
    v: Tensor
    denominator: Tensor
    fraction: Tensor
    e: Tensor


def _clipped(raw: Tensor, clip: float) -> Tensor:
    return raw / (1 + (raw * clip).abs()) if clip else raw


def _clip_slope(raw: Tensor, clip: float) -> Tensor:
    return (1 + (raw * clip).abs()).reciprocal().square()


def _bins(raw: Tensor, smallest: float, o: Options) -> _Bins:
    raw = _clipped(o.scale * raw, o.clip)
    softmax = (raw - raw.amax(-1, keepdim=True)).clamp(min=-300).softmax(-1)
    widths = 2 * o.bound * (smallest + (1 - smallest * o.bins) * softmax)
    inner = widths.cumsum(-1)[..., :-1] - o.bound
    ends = torch.full_like(widths[..., :1], o.bound)
    return _Bins(softmax, widths, torch.cat([-ends, inner, ends], -1))


def _derivatives(raw: Tensor, o: Options) -> Tensor:
    """Those at the K + 1 knots."""
    if o.convention == "zuko":
        d = _clipped(raw, o.clip / 2).exp()
    else:
        d = o.min_derivative + F.softplus(raw, threshold=90.0)
    if o.boundary == "circular":
        return torch.cat([d, d[..., :1]], -1)
    if o.boundary == "linear":
        one = torch.ones_like(raw[..., :1] if raw.shape[-1] else raw.new_zeros(*raw.shape[:-1], 1))
        return torch.cat([one, d, one], -1)
    return d


def _derivative_slopes(raw: Tensor, o: Options) -> Tensor:
    """Of each derivative in its raw parameter."""
    if o.convention == "zuko":
        return _clipped(raw, o.clip / 2).exp() * _clip_slope(raw, o.clip / 2)
    return raw.sigmoid()


def _at(values: Tensor, k: Tensor) -> Tensor:
    return values.gather(-1, k).squeeze(-1)


def _curve(x: Tensor, raw: Tensor, o: Options) -> _Curve:
    """x inside the interval; raw (*x.shape, parts)."""
    xs = _bins(raw[..., : o.bins], o.smallest[0], o)
    ys = _bins(raw[..., o.bins : 2 * o.bins], o.smallest[1], o)
    knots = (ys if o.inverse else xs).knots
    k = (x.detach()[..., None] >= knots.detach()[..., 1:-1]).sum(-1, keepdim=True)
    derivatives = _derivatives(raw[..., 2 * o.bins :], o)
    d = _at(derivatives, k), _at(derivatives, k + 1)
    width, height = _at(xs.widths, k), _at(ys.widths, k)
    s = height / width
    length = height if o.inverse else width
    u, v = (x - _at(knots, k)) / length, (_at(knots, k + 1) - x) / length
    if o.inverse:
        # The root of v u s u^2 + (v d0 - u d1) u v - u s v^2, from sums of positive terms.
        b = v * d[0] - u * d[1]
        square = b.square() + 4 * s * u * (s * v)
        positive = square > 0  # else the root of the other branch has an infinite slope
        root = torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
        total, rising = b.abs() + root, b >= 0
        u, v = torch.where(rising, 2 * s * u, total), torch.where(rising, total, 2 * s * v)
        u, v = u / (u + v), v / (u + v)
    denominator = s * (u.square() + v.square()) + (d[0] + d[1]) * u * v
    fraction = (s * u.square() + d[0] * u * v) / denominator
    e = (d[1] * u.square() + 2 * s * u * v + d[0] * v.square()) / denominator
    return _Curve(xs, ys, k, raw, d, s, u, v, denominator, fraction, e)


def _log_slope(c: _Curve) -> Tensor:
    return (c.s / c.denominator * c.e * c.s).log()


def _precise(x: Tensor, params: Tensor, o: Options) -> tuple[Tensor, Tensor]:
    """x (B, C, *S) and the raw parameters (B, C, *S, parts), in float64 where the device has it."""
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    channels = params.shape[1] // o.parts
    raw = params.unflatten(1, (channels, o.parts)).movedim(2, -1)
    return x.to(dtype), raw.to(dtype)


def rational_quadratic_spline(
    x: Tensor, params: Tensor, o: Options, reduction: str
) -> tuple[Tensor, Tensor]:
    """y and log_det of x (B, C, *S), params (B, C * parts, *S)."""
    point, raw = _precise(x, params, o)
    inside = point.abs() <= o.bound
    c = _curve(torch.where(inside, point, 0.0), raw, o)
    if o.inverse:
        y = _at(c.xs.knots, c.k) + _at(c.xs.widths, c.k) * c.u
    else:
        y = _at(c.ys.knots, c.k) + _at(c.ys.widths, c.k) * c.fraction
    log_slope = _log_slope(c)
    y = torch.where(inside, y.clamp(-o.bound, o.bound), point)
    # 0 outside, NaN for NaN.
    nothing = torch.where(point.detach().isnan(), point.detach(), 0.0)
    log_det = torch.where(inside, -log_slope if o.inverse else log_slope, nothing)
    log_det = log_det.flatten(1).sum(1) if reduction == "row" else log_det
    return y.to(x.dtype), log_det.to(torch.promote_types(x.dtype, torch.float32))


class _Gradients(NamedTuple):
    """Those of the position u, of s while the height is kept, and of the derivatives."""

    u: Tensor
    s: Tensor
    d0: Tensor
    d1: Tensor


def _curve_pullback(c: _Curve, height: Tensor, grad_y: Tensor, grad_log: Tensor) -> _Gradients:
    """The table of the C++ header."""
    d0, d1 = c.d
    uv, tilt, both = c.u * c.v, c.v - c.u, d0 + d1
    e = c.e * c.denominator
    reach = grad_y * height / c.denominator
    e_u, d_u = 2 * (d1 * c.u - d0 * c.v + c.s * tilt), (both - 2 * c.s) * tilt
    u = reach * c.s * c.e + grad_log * (e_u / e - 2 * d_u / c.denominator)
    turn = (d1 * c.u.square() - d0 * c.v.square()) / c.denominator
    s = uv * (reach * turn + 2 * grad_log * (both / (c.denominator * c.s) + 1 / e))
    common = 2 * grad_log / c.denominator
    left = grad_log * c.v.square() / e + uv * (reach * (1 - c.fraction) - common)
    right = grad_log * c.u.square() / e - uv * (reach * c.fraction + common)
    return _Gradients(u, s, left, right)


def _bin_gradients(
    bins: _Bins, k: Tensor, grad_start: Tensor, grad_width: Tensor, smallest: float, o: Options
) -> Tensor:
    """Of the raw widths, from those of the bin's start and of its width."""
    place = torch.arange(o.bins, device=k.device)
    zero = torch.zeros_like(bins.softmax)
    own = torch.where(place < k, grad_start[..., None], zero)
    own = torch.where(place == k, grad_width[..., None], own)
    common = (own * bins.softmax).sum(-1, keepdim=True)
    return 2 * o.bound * (1 - smallest * o.bins) * bins.softmax * (own - common)


def _derivative_gradients(c: _Curve, g: _Gradients, o: Options) -> Tensor:
    """Of the raw derivatives, from those at the ends of the bin."""
    knot = torch.arange(o.bins + 1, device=c.k.device)
    zero = c.xs.knots.new_zeros(())
    grads = torch.where(knot == c.k, g.d0[..., None], zero)
    grads = grads + torch.where(knot == c.k + 1, g.d1[..., None], zero)
    if o.boundary == "linear":
        grads = grads[..., 1:-1]
    elif o.boundary == "circular":
        grads = torch.cat([grads[..., :1] + grads[..., -1:], grads[..., 1:-1]], -1)
    return grads * _derivative_slopes(c.raw[..., 2 * o.bins :], o)


def rational_quadratic_spline_backward(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, o: Options, reduction: str
) -> tuple[Tensor, Tensor]:
    """The gradients of x and of params; itself differentiable."""
    point, raw = _precise(x, params, o)
    inside = point.abs() <= o.bound
    c = _curve(torch.where(inside, point, 0.0), raw, o)
    if reduction == "row":
        grad_log_det = grad_log_det.reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)
    given = grad_y.to(point.dtype)
    of_y = torch.where(inside, given, 0.0)
    of_log = torch.where(inside, grad_log_det.to(point.dtype), 0.0)
    width, height = _at(c.xs.widths, c.k), _at(c.ys.widths, c.k)
    if o.inverse:
        log_u = _curve_pullback(c, height, torch.zeros_like(of_y), torch.ones_like(of_log)).u
        grad_x = (of_y - of_log * log_u / width) / (c.s * c.s / c.denominator * c.e)
        of_y, of_log = -grad_x, -of_log
    g = _curve_pullback(c, height, of_y, of_log)
    grad_u = g.u / width
    if not o.inverse:
        grad_x = grad_u
    of_width = -c.u * grad_u - c.s * g.s / width
    of_height = of_y * c.fraction + g.s / width
    widths = _bin_gradients(c.xs, c.k, -grad_u, of_width, o.smallest[0], o)
    heights = _bin_gradients(c.ys, c.k, of_y, of_height, o.smallest[1], o)
    of_raw = o.scale * torch.cat([widths, heights], -1)
    if o.clip:
        of_raw = of_raw * _clip_slope(o.scale * raw[..., : 2 * o.bins], o.clip)
    grads = torch.cat([of_raw, _derivative_gradients(c, g, o)], -1)
    grad_params = grads.movedim(-1, 2).flatten(1, 2)
    return torch.where(inside, grad_x, given).to(x.dtype), grad_params.to(params.dtype)


def _split(x: Tensor, params: Tensor, o: Options, transform: str) -> tuple[Tensor, Tensor]:
    """The channels that are transformed, and the others."""
    return split_channels(x, params.shape[1] // o.parts, transform)


def rational_quadratic_spline_split(
    x: Tensor, params: Tensor, o: Options, transform: str, reduction: str
) -> tuple[Tensor, Tensor]:
    """The whole input in, the whole output out: some channels are transformed, others copied."""
    moved, kept = _split(x, params, o, transform)
    y, log_det = rational_quadratic_spline(moved, params, o, reduction)
    return join_channels(y, kept, transform), log_det


def rational_quadratic_spline_split_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    o: Options,
    transform: str,
    reduction: str,
) -> tuple[Tensor, Tensor]:
    """The gradients of x and of params."""
    moved, _ = _split(x, params, o, transform)
    grad_moved, grad_kept = _split(grad_y, params, o, transform)
    grad_x, grad_params = rational_quadratic_spline_backward(
        grad_moved, grad_log_det, moved, params, o, reduction
    )
    return join_channels(grad_x, grad_kept, transform), grad_params

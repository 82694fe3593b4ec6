"""Spherical linear interpolation in plain torch.

Written so that torch's derivatives of both functions, to any order, are right at equal
points and finite at opposite ones: no square root is taken of a vanishing number, and
next to angle 0 everything is a power series in sin^2 of the angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Below this sin^2 of the angle the series serve; their error is then about NEAR^TERMS / 100.
NEAR = 1e-3
TERMS = 5


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


@dataclass
class _Pair:
    """What a pair determines, shaped to broadcast against (*batch, T, D)."""

    a: Tensor  # a / |a|
    b: Tensor
    r: Tensor  # b / |b| less its part along a; the chosen direction if antipodal
    n: Tensor  # |r| = sin(angle), 1 where the series serve
    tilt: Tensor  # if antipodal: the chosen axis' component along a
    x: Tensor  # sin^2 where the series serve, else 0
    cosine: Tensor
    omega: Tensor  # angle, 0 where the series serve
    inverse_a: Tensor  # 1 / |a|; 0 if a pair has no angle
    inverse_b: Tensor  # and if antipodal
    near: Tensor
    antipodal: Tensor

    def unsqueezed(self) -> _Pair:
        return _Pair(*(v.unsqueeze(-2) for v in vars(self).values()))


def _rejected(a: Tensor, r: Tensor, aa: Tensor) -> Tensor:
    return r - a * (_dot(a, r) / aa)


def _pair(a: Tensor, b: Tensor) -> _Pair:
    aa, bb, ab = _dot(a, a), _dot(b, b), _dot(a, b)
    zero = (aa == 0) | (bb == 0)
    aa, bb = torch.where(zero, 1.0, aa), torch.where(zero, 1.0, bb)
    # b less a multiple of a has the same part across a, whatever the multiple: one that
    # leaves little along a, and +-1 next to it, where b -+ a is nearly exact.
    c = (ab / aa).detach()
    c = torch.where((c.abs() - 1).abs() < 1 / 16, c.sign(), c)
    r = b - c * a
    if a.shape[-1] == 1:  # on a line nothing is across, whatever the rounding left
        r = torch.zeros_like(r)
    nn = _rejected(a, r, aa).square().sum(-1, keepdim=True).detach()
    parallel = nn <= torch.finfo(a.dtype).tiny * 2**20 * bb
    antipodal = parallel & (ab < 0) & ~zero
    length_a, length_b = aa.sqrt(), bb.sqrt()
    axis = torch.arange(a.shape[-1], device=a.device) == a.detach().abs().argmin(-1, keepdim=True)
    axis = axis.to(a.dtype) if a.shape[-1] > 1 else torch.zeros_like(a)
    r = _rejected(a, torch.where(antipodal, axis, r / length_b), aa)
    r = torch.where(zero, 0.0, r)
    rr = r.square().sum(-1, keepdim=True)
    cosine = ab / (length_a * length_b)
    near = zero | ((rr < NEAR) & (cosine >= 0))
    n = torch.where(near | (rr == 0), 1.0, rr).sqrt()
    return _Pair(
        a=torch.where(zero, 0.0, a / length_a),
        b=torch.where(zero, 0.0, b / length_b),
        r=r,
        n=n,
        tilt=_dot(a, axis) / length_a,
        x=torch.where(near, rr, 0.0),
        cosine=cosine,
        omega=torch.where(
            antipodal,
            torch.pi,
            torch.atan2(torch.where(near, 0.0, n), torch.where(near, 1, cosine)),
        ),
        inverse_a=torch.where(zero, 0.0, 1 / length_a),
        inverse_b=torch.where(zero | antipodal, 0.0, 1 / length_b),
        near=near,
        antipodal=antipodal,
    )


def _series(t: Tensor, x: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """sum c_k x^k and its derivative; c_0 = 1, c_{k+1} / c_k = ((2k+f)^2 - t^2) / (2k+f+1)_2.

    With f = 0 this is cos(t w), with f = 1 sin(t w) / (t sin w), for x = sin^2 w.
    """
    c = [torch.ones_like(t * x)]
    for k in range(TERMS):
        m = 2 * k + first
        c.append(c[-1] * (m * m - t * t) / ((m + 1) * (m + 2)))
    value = slope = torch.zeros_like(c[0])
    for k in range(TERMS, -1, -1):
        value = value * x + c[k]
        if k:
            slope = slope * x + k * c[k]
    return value, slope


def _sincos(p: _Pair, t: Tensor) -> tuple[Tensor, Tensor]:
    """sin and cos of t omega; from the angle's complement to pi where that is smaller."""
    complement = torch.pi - p.omega
    complement = torch.where(p.cosine < 0, torch.atan2(p.n, -p.cosine), complement)
    complement = torch.where(p.antipodal, 0.0, torch.where(p.near, 1.0, complement))
    angle = t * p.omega
    beyond = angle > torch.pi / 2
    angle = torch.where(beyond, complement + (1 - t) * p.omega, angle)
    return angle.sin(), torch.where(beyond, -angle.cos(), angle.cos())


def _prepared(a: Tensor, b: Tensor, t: Tensor) -> tuple[_Pair, Tensor]:
    compute = torch.promote_types(a.dtype, torch.float32)
    pair, t = _pair(a.to(compute), b.to(compute)), t.to(compute)
    return (pair.unsqueezed(), t.unsqueeze(-1)) if t.ndim else (pair, t)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The point at fraction t of the great circle from a/|a| to b/|b|."""
    t = torch.as_tensor(t, dtype=torch.promote_types(a.dtype, torch.float32), device=a.device)
    p, t = _prepared(a, b, t)
    sine, cosine = _sincos(p, t)
    along = torch.where(p.near, _series(t, p.x, 0)[0], cosine)
    across = torch.where(p.near, t * _series(t, p.x, 1)[0], sine / p.n)
    return (p.a * along + p.r * across).to(a.dtype)


def slerp_backward(grad: Tensor, a: Tensor, b: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `slerp` in a, b and t, in the frame (a, e) of the great circle."""
    p, s = _prepared(a, b, t)
    u = 1 - s
    g = grad.to(p.a.dtype)
    ga, gr, gb = _dot(g, p.a), _dot(g, p.r), _dot(g, p.b)

    # Next to angle 0: y = w0 a + w1 b; `turn` is dy/dcos . g.
    (f0, slope0), (f1, slope1) = _series(u, p.x, 1), _series(s, p.x, 1)
    turn = -2 * p.cosine * (u * slope0 * ga + s * slope1 * gb)
    near_t = _series(torch.zeros_like(s), p.x, 1)[0] * (
        _series(s, p.x, 0)[0] * gr - p.x * s * f1 * ga
    )

    # Elsewhere: e and e_b point along the arc at a and at b, e_y at y.
    sine, cosine = _sincos(p, s)
    ge, geb = gr / p.n, gr / p.n * p.cosine - ga * p.n
    gey = ge * cosine - ga * sine
    w0, w1 = _sincos(p, u)[0] / p.n, sine / p.n
    w0 = torch.where(p.near, u * f0, w0)
    w0 = torch.where(p.antipodal, cosine - sine * p.tilt / p.n, w0)
    w1 = torch.where(p.near, s * f1, w1)
    along_a = torch.where(p.antipodal, 1.0, u) * gey - w0 * ge
    along_b = s * gey - w1 * geb
    along_a = torch.where(p.near, turn, along_a / p.n)
    e_b = p.r / p.n * p.cosine - p.a * p.n
    along_b = torch.where(p.near, turn, along_b)
    across_b = torch.where(p.near, p.a - p.cosine * p.b, e_b)

    grad_a = p.inverse_a * (w0 * (g - ga * p.a) + along_a * p.r)
    grad_b = p.inverse_b * (w1 * (g - gb * p.b) + along_b * across_b)
    grad_t = torch.where(p.near, near_t, p.omega * gey).squeeze(-1)
    if t.ndim:
        grad_a, grad_b = grad_a.sum(-2), grad_b.sum(-2)
    extra = grad_t.ndim - t.ndim
    grad_t = grad_t.sum(tuple(range(extra))) if extra else grad_t
    return grad_a.to(a.dtype), grad_b.to(b.dtype), grad_t.to(t.dtype)

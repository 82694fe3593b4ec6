"""Interpolation between directions."""

from __future__ import annotations

import math

import torch
from torch.testing import assert_close

from flowkernels import ops

from .report import report

FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def exact(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """The law of slerp in the plane of a and b, in float64."""
    a, b = a.double() / a.double().norm(), b.double() / b.double().norm()
    angle = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


@report(
    "redorav/hlslpp/issues/68",
    "nearly parallel quaternions give NaN: the cosine rounds to more than 1",
    "nearly parallel vectors are interpolated to rounding",
)
def _() -> None:
    a = torch.tensor([-0.0112188980, -0.0367633253, -0.00361495349, -0.999254525])
    b = torch.tensor([-0.0114078531, -0.0367971063, -0.00342923636, -0.999251783])
    got = ops.slerp(a, b, 0.691265166)
    assert_close(got.double(), exact(a, b, 0.691265166), rtol=0, atol=2e-7)


@report(
    "dfki-ric/pytransform3d/issues/45",
    "two identical quaternions give NaN",
    "the arc between a direction and itself is that direction, in every dtype",
)
def _() -> None:
    for dtype in FLOATS:
        a = torch.nn.functional.normalize(torch.randn(100, 4), dim=-1).to(dtype)
        y = ops.slerp(a, a, torch.linspace(0, 1, 5).to(dtype))
        unit = torch.nn.functional.normalize(a.double(), dim=-1)[:, None].expand(-1, 5, -1)
        assert_close(y.double(), unit, rtol=0, atol=2 * torch.finfo(dtype).eps)


@report(
    "toji/gl-matrix/pull/500",
    "parallel vectors give NaN",
    "parallel vectors of any two lengths give their direction",
)
def _() -> None:
    a = torch.tensor([0.0, 0.0, 1.0])
    for scale in (1.0, 3.0, 1e-8, 1e8):
        assert_close(ops.slerp(a, scale * a, 0.5), a, rtol=0, atol=1e-7)


@report(
    "dimforge/nalgebra/pull/1614",
    "the end of an arc between opposite directions is its start",
    "both ends are exact for opposite directions, and the points between lie on the sphere",
)
def _() -> None:
    for dim in (2, 3, 4, 100):
        a = torch.nn.functional.normalize(torch.randn(50, dim).double(), dim=-1)
        y = ops.slerp(a, -a, torch.linspace(0, 1, 9).double())
        assert_close(y[:, 0], a)
        assert_close(y[:, -1], -a)
        assert_close(y.norm(dim=-1), torch.ones(50, 9, dtype=torch.float64))


@report(
    "opentk/opentk/issues/1736",
    "opposite directions are interpolated along the chord, through the origin",
    "opposite directions are interpolated along a great circle at constant speed, as documented",
)
def _() -> None:
    a = torch.nn.functional.normalize(torch.randn(50, 3).double(), dim=-1)
    y = ops.slerp(a, -a, torch.linspace(0, 1, 9).double())
    steps = (y[:, 1:] * y[:, :-1]).sum(-1)
    assert_close(steps, torch.full_like(steps, math.cos(math.pi / 8)))
    assert "Opposite directions" in (ops.slerp.__doc__ or "")


@report(
    "geomstats/geomstats/issues/1218",
    "the logarithm of the opposite point is 0 or a complex number",
    "near opposite directions the arc has its full length, to rounding",
)
def _() -> None:
    a = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for apart in (1e-3, 1e-8, 1e-12, 1e-15):
        b = torch.tensor([-1.0, apart, 0.0], dtype=torch.float64)
        middle = ops.slerp(a, b, 0.5)
        assert_close(middle, torch.tensor([apart / 2, 1.0, 0.0]).double(), rtol=0, atol=1e-6)


@report(
    "kornia/kornia/issues/4007",
    "the gradient at the identity quaternion is NaN through acos clamped to [-1, 1]",
    "gradients are finite for equal and for opposite directions, and for vectors of length 0",
)
def _() -> None:
    identity = torch.tensor([1.0, 0, 0, 0])
    for b in (identity, -identity, torch.zeros(4), identity + 1e-8):
        a, b = identity.clone().requires_grad_(), b.clone().requires_grad_()
        ops.slerp(a, b, 0.3).sum().backward()
        assert a.grad.isfinite().all() and b.grad.isfinite().all()


@report(
    "arcee-ai/mergekit/pull/256",
    "tensors travel through NumPy, which has no bfloat16 and no gradients",
    "bfloat16 stays bfloat16, with gradients",
)
def _() -> None:
    a, b = torch.randn(2, 8, 64, dtype=torch.bfloat16).unbind()
    a.requires_grad_()
    y = ops.slerp(a, b, 0.5)
    assert y.dtype == torch.bfloat16
    y.float().square().cumsum(-1).sum().backward()
    assert a.grad.dtype == torch.bfloat16 and a.grad.float().norm() > 0


@report(
    "soumith/dcgan.torch/issues/14",
    "each pair of a batch needs its own angle and its own steps; users write it themselves",
    "t has the shape (T,) or one row for each pair",
)
def _() -> None:
    a, b = torch.randn(2, 6, 10).double().unbind()
    t = torch.rand(6, 4).double()
    y = ops.slerp(a, b, t)
    for i in range(6):
        for j in range(4):
            assert_close(y[i, j], exact(a[i], b[i], t[i, j].item()))

"""slerp and its gradients against 60-digit arithmetic, at every angle.

The truth is the textbook form, sin((1-t) w)/sin(w) a + sin(t w)/sin(w) b with w from an
arc cosine, which is as good as any with that many digits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import Tensor
from torch.nn.functional import normalize

from flowkernels import _C, ops
from flowkernels.ops.composite import slerp as composite

NEAR_0 = [10.0**-k for k in range(6, 0, -1)] + [0.3]
NEAR_PI = [np.pi - 10.0**-k for k in range(2, 6)]
ANGLES = [*NEAR_0, "random", *NEAR_PI]
FRACTIONS = [0.0, 1e-4, 0.3, 0.999, 1.0]
# (value, gradient) in float32 and float64; gradients relative to their largest element.
GATES = {torch.float32: (1e-6, 1e-5), torch.float64: (1e-15, 1e-14)}

each_dtype = pytest.mark.parametrize("dtype", GATES, ids=lambda d: str(d).split(".")[1])
each_dim = pytest.mark.parametrize("dim", [2, 3, 128, 785])


def pairs(dim: int, angle: float | str, count: int = 3, lengths: bool = False) -> Tensor:
    """(2, count, dim) unit vectors at the angle, in float64."""
    g = torch.Generator().manual_seed(dim)
    a, b = normalize(torch.randn(2, count, dim, dtype=torch.float64, generator=g), dim=-1)
    if angle != "random":
        assert isinstance(angle, float)
        across = normalize(b - a * (a * b).sum(-1, keepdim=True), dim=-1)
        b = a * np.cos(angle) + across * np.sin(angle)
    return torch.stack([a * 3.7, b * 0.3] if lengths else [a, b])


class Truth:
    """One pair in 60 digits."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        a_, b_ = (np.array([mpf(x) for x in v.tolist()]) for v in (a, b))
        self.length_a, self.length_b = (mpmath.sqrt(mp.fdot(v, v)) for v in (a_, b_))
        self.a, self.b = a_ / self.length_a, b_ / self.length_b
        self.cosine = mp.fdot(self.a, self.b)
        self.omega = mpmath.acos(self.cosine)

    def weight(self, t: mpf) -> mpf:
        return mpmath.sin(t * self.omega) / mpmath.sin(self.omega)

    def slope(self, t: mpf) -> mpf:
        """d weight / d cosine."""
        w, s, c = self.omega, mpmath.sin(self.omega), mpmath.cos(self.omega)
        return -(t * mpmath.cos(t * w) * s - mpmath.sin(t * w) * c) / s**3

    def value(self, t: float) -> np.ndarray:
        t = mpf(t)
        return (self.a * self.weight(1 - t) + self.b * self.weight(t)).astype(np.float64)

    def gradients(self, t: float, g: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
        """Of the inner product of the value and g, in a, b and t."""
        t, u = mpf(t), 1 - mpf(t)
        g_ = np.array([mpf(x) for x in g.tolist()])
        ga, gb = mp.fdot(g_, self.a), mp.fdot(g_, self.b)
        turn = self.slope(u) * ga + self.slope(t) * gb
        grad_a, grad_b = self.weight(u) * g_ + turn * self.b, self.weight(t) * g_ + turn * self.a
        grad_a = (grad_a - self.a * mp.fdot(grad_a, self.a)) / self.length_a
        grad_b = (grad_b - self.b * mp.fdot(grad_b, self.b)) / self.length_b
        w, s = self.omega, mpmath.sin(self.omega)
        grad_t = w * (gb * mpmath.cos(t * w) - ga * mpmath.cos(u * w)) / s
        return grad_a.astype(np.float64), grad_b.astype(np.float64), float(grad_t)


def errors(ab: Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """The largest errors of values and of gradients over pairs and fractions."""
    a, b = (v.to(dtype).requires_grad_() for v in ab)
    g = torch.linspace(-9, 9, a.numel(), dtype=torch.float64).sin().reshape(a.shape).to(dtype)
    value_error = gradient_error = 0.0
    with mp.workdps(60):
        truths = [Truth(x, y) for x, y in zip(a.detach(), b.detach(), strict=True)]
        for fraction in FRACTIONS:
            t = torch.tensor([fraction], dtype=dtype).expand(len(truths), 1).requires_grad_()
            y = ops.slerp(a, b, t).squeeze(-2)
            grads = torch.autograd.grad(y, (a, b, t), g)
            assert all(grad.isfinite().all() for grad in grads)
            for k, truth in enumerate(truths):
                exact = t[k].item()
                value = np.abs(y[k].detach().double().numpy() - truth.value(exact)).max()
                value_error = max(value_error, float(value))
                *wants, want_t = truth.gradients(exact, g[k])
                # Relative to the larger of the two: at t = 0 that of b vanishes.
                size = max(
                    np.abs(want * v.norm().item()).max()
                    for want, v in zip(wants, ab[:, k], strict=True)
                )
                for got, want, v in zip(grads[:2], wants, ab[:, k], strict=True):
                    error = np.abs(got[k].double().numpy() - want).max() * v.norm().item() / size
                    gradient_error = max(gradient_error, float(error))
                error = abs(grads[2][k].item() - want_t) / g[k].norm().item()
                gradient_error = max(gradient_error, error)
    return value_error, gradient_error


@each_dim
@each_dtype
@pytest.mark.parametrize("angle", ANGLES, ids=str)
def test_values_and_gradients_at_every_angle(
    angle: float | str, dtype: torch.dtype, dim: int
) -> None:
    value, gradient = errors(pairs(dim, angle, 2), dtype)
    allowed_value, allowed_gradient = GATES[dtype]
    assert value <= allowed_value
    assert gradient <= allowed_gradient


@each_dtype
@pytest.mark.parametrize("angle", [1e-5, "random", NEAR_PI[-1]], ids=str)
def test_lengths_do_not_matter(angle: float | str, dtype: torch.dtype) -> None:
    for dim in (3, 100):
        value, gradient = errors(pairs(dim, angle, 2, lengths=True), dtype)
        assert value <= GATES[dtype][0]
        assert gradient <= GATES[dtype][1]


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets(isa: str) -> None:
    """Without fused multiply-adds the small differences take another way."""
    if isa not in _C.build_info()["cpu_isas_compiled"] or isa == _C.build_info()["cpu_isa"]:
        pytest.skip(f"{isa} is not compiled here, or it is what the other tests run")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__)),
         "-k", "lengths or equal or opposite or length_0"],
        env={**os.environ, "FLOWKERNELS_CPU_ISA": isa},
        capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=600,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:]


@each_dtype
@pytest.mark.parametrize("dim", [2, 3, 40, 300])
def test_equal_points(dim: int, dtype: torch.dtype) -> None:
    """Value a^, and the limits 1 - t and t of the weights."""
    a = torch.randn(70, dim, dtype=dtype)
    leaves = (a.clone().requires_grad_(), a.clone().requires_grad_())
    unit, length = normalize(a, dim=-1), a.norm(dim=-1, keepdim=True)
    g = torch.randn(70, dim, dtype=dtype)
    across = (g - unit * (unit * g).sum(-1, keepdim=True)) / length
    for t in (0.0, 0.3, 1.0):
        y = ops.slerp(*leaves, t)
        torch.testing.assert_close(y, unit)
        grad_a, grad_b = torch.autograd.grad(y, leaves, g)
        torch.testing.assert_close(grad_a, (1 - t) * across)
        torch.testing.assert_close(grad_b, t * across)
    # A step of rounding apart, and another length: still the same.
    near = torch.nextafter(a, torch.full_like(a, 9.0)) * 1.5
    y = ops.slerp(leaves[0], near.requires_grad_(), 0.3)
    torch.testing.assert_close(y, unit)
    for got, want in zip(
        torch.autograd.grad(y, (leaves[0], near), g), (0.7 * across, 0.2 * across), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


def test_second_derivatives_at_equal_points() -> None:
    """Continuous there: the mean of both sides, a thousandth away, to the square of that."""
    a, v = torch.randn(2, 5, dtype=torch.float64)
    weight = torch.randn(5, dtype=torch.float64)

    def hessian(b: Tensor) -> Tensor:
        f = lambda x, y: (ops.slerp(x, y, 0.3) * weight).sum().sin()  # noqa: E731
        (aa, ab), (ba, bb) = torch.func.hessian(f, (0, 1))(a, b)
        return torch.stack([aa, ab, ba, bb])

    at, around = hessian(a), (hessian(a + 1e-3 * v) + hessian(a - 1e-3 * v)) / 2
    assert at.isfinite().all()
    torch.testing.assert_close(at, around, rtol=1e-4, atol=1e-4)


@each_dtype
@pytest.mark.parametrize("dim", [2, 3, 40, 300])
def test_opposite_points(dim: int, dtype: torch.dtype) -> None:
    """As documented: the arc through the axis on which `a` is smallest; b has no say."""
    a = torch.randn(70, dim, dtype=dtype)
    leaves = (a.clone().requires_grad_(), (-2 * a).requires_grad_())
    t = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=dtype, requires_grad=True)
    y = ops.slerp(*leaves, t)
    axis = torch.nn.functional.one_hot(a.abs().argmin(-1), dim).to(dtype)

    def arc(a: Tensor, t: Tensor) -> Tensor:
        unit = normalize(a, dim=-1)
        e = normalize(axis - unit * (unit * axis).sum(-1, keepdim=True), dim=-1)
        angle = t[:, None] * torch.pi
        return unit[:, None] * angle.cos() + e[:, None] * angle.sin()

    def check(got: Tensor, want: Tensor, scale: Tensor) -> None:
        assert (got - want).abs().max() <= 64 * torch.finfo(dtype).eps * scale

    one = torch.ones(())
    check(y, arc(a, t), one)
    check(y[:, -1], normalize(-a, dim=-1), one)
    # One fraction goes another way through the kernels, and the definition agrees.
    check(ops.slerp(a, -2 * a, 0.25), y[:, 1], one)
    check(composite.slerp(a, -2 * a, t), y, one)
    g = torch.randn_like(y)
    want_a, want_t = torch.autograd.grad(arc(leaves[0], t), (leaves[0], t), g)
    for grad_a, grad_b, grad_t in (
        torch.autograd.grad(y, (*leaves, t), g),
        composite.slerp_backward(g, a, -2 * a, t),
    ):
        check(grad_a, want_a, want_a.abs().max())
        check(grad_t, want_t, g.norm())
        assert not grad_b.any()


def test_opposite_points_of_a_line() -> None:
    a = torch.tensor([[2.0], [-1.0]], requires_grad=True)
    y = ops.slerp(a, -a.detach(), torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(y[:, :, 0], torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]]))
    (grad,) = torch.autograd.grad(y.sum(), a)
    assert grad.abs().max() < 1e-6
    # No rounding of a length gives the line a direction across it.
    b = torch.randn(300, 1)
    half = ops.slerp(b, -3 * b, torch.tensor([0.5, 1.0]))[:, :, 0]
    torch.testing.assert_close(half[:, 0], torch.zeros(300))
    torch.testing.assert_close(half[:, 1], -b[:, 0].sign())
    torch.testing.assert_close(ops.slerp(b, -3 * b, 0.5), torch.zeros(300, 1))


@pytest.mark.parametrize("dim", [3, 100])
def test_length_0_has_no_direction(dim: int) -> None:
    a, zero = torch.randn(3, dim), torch.zeros(3, dim)
    for x, y in ((a, zero), (zero, a), (zero, zero)):
        for function in (ops.slerp, composite.slerp):
            leaves = (x.clone().requires_grad_(), y.clone().requires_grad_())
            out = function(*leaves, torch.tensor([0.0, 0.5]))
            assert not out.any()
            for grad in torch.autograd.grad(out.sum(), leaves):
                assert not grad.any()


def test_derivatives_of_the_definition_are_finite_everywhere() -> None:
    """Second and forward-mode derivatives run through it."""
    a = torch.randn(4, 3, dtype=torch.float64)
    b = torch.stack([a[0], -a[1], torch.zeros(3, dtype=torch.float64), a[3] + 1e-9])
    t = torch.tensor(0.3, dtype=torch.float64)
    f = lambda a, b, t: ops.slerp(a, b, t).sin().sum()  # noqa: E731
    for each in torch.func.hessian(f, (0, 1, 2))(a, b, t):
        assert all(h.isfinite().all() for h in each)
    value, tangent = torch.func.jvp(f, (a, b, t), (a.cos(), a.sin(), t))
    assert value.isfinite()
    assert tangent.isfinite()


def test_extrapolation_and_numbers() -> None:
    a, b = torch.eye(2, dtype=torch.float64)
    for t in (-1, 2, 2.5, True, np.float32(0.5)):
        angle = float(t) * np.pi / 2
        want = torch.tensor([np.cos(angle), np.sin(angle)])
        torch.testing.assert_close(ops.slerp(a, b, t), want)
    torch.testing.assert_close(ops.slerp(a, b, torch.tensor([0, 1])), torch.stack([a, b]))


@pytest.mark.parametrize("dim", [25, 64, 127])
@pytest.mark.parametrize("rows", [16, 37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_without_a_direction_of_their_own_among_others(
    dim: int, rows: int, dtype: torch.dtype
) -> None:
    """Rows of a few vectors are handled many at a time, but for these, and not if strided."""
    g = torch.Generator().manual_seed(dim)
    a, b, grad = torch.randn(3, rows, dim, dtype=dtype, generator=g)
    b[3], b[15], b[rows - 1] = a[3], -a[15], 3 * a[rows - 1] + 1e-6 * b[rows - 1]
    a[7] = 0
    t = torch.rand(rows, 1, dtype=dtype, generator=g)
    together = a.requires_grad_(), b.requires_grad_(), t.requires_grad_()
    strided = [torch.stack([x, x], -1)[..., 0] for x in (a, b)]
    results = []
    for x, y, g_y in ((a, b, grad), (*strided, torch.stack([grad, grad], -1)[..., 0])):
        point = ops.slerp(x, y, t).squeeze(1)
        results.append((point.detach(), *torch.autograd.grad(point, together, g_y)))
    for got, want in zip(*results, strict=True):
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(
            got, want, rtol=64 * eps, atol=64 * eps * float(want.abs().max())
        )


def test_on_a_line_derivatives_of_every_order() -> None:
    """With D = 1, y = cos(t pi) a / |a| between opposite directions, else a / |a|."""
    a = torch.tensor([[-6.7e-12], [3.0], [-1e6], [2e-3]], dtype=torch.float32, requires_grad=True)
    b = torch.tensor([[1.0], [0.7], [1.0], [-3e5]], requires_grad=True)
    t = torch.tensor([0.3, 0.6, 0.9, 0.1], requires_grad=True).unsqueeze(-1)
    opposite = torch.tensor([1.0, 0.0, 1.0, 1.0]).unsqueeze(-1)
    y = ops.slerp(a, b, t)[..., 0]
    expected = (t * torch.pi * opposite).cos() * a.detach().sign()
    torch.testing.assert_close(y, expected)
    for create_graph in (False, True):
        found = torch.autograd.grad(
            y.sum(), (a, b, t), create_graph=create_graph, retain_graph=True
        )
        (exact,) = torch.autograd.grad(expected.sum(), t, retain_graph=True)
        torch.testing.assert_close(found[2], exact, rtol=1e-5, atol=1e-6)
        for grad, x in zip(found[:2], (a, b), strict=True):
            assert ((grad * x.detach()).abs() < 1e-6).all()

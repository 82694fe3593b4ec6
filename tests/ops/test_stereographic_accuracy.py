"""The stereographic maps and their gradients against 120-digit arithmetic.

120 digits let the truth use the defining forms: at |z| = 1e30 they cancel 60 of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import Tensor

from flowkernels import ops

DIGITS = 120
FAR = [10.0**k for k in range(-30, 31, 3)]
NEAR_1 = [0.3, 0.9, 0.999, 1 - 1e-5, 1.0, 1 + 1e-6, 1.001, 1.2, 3.0]
EXTREME = {
    torch.float32: [*FAR, 1e-38, 7e18, 3e19, 1e37],
    torch.float64: [*FAR, 1e-300, 1e-60, 1e60, 1e140, 3e154, 1e300],
}
LENGTHS = {dtype: [*radii, *NEAR_1] for dtype, radii in EXTREME.items()}
DIMS = [1, 3, 40, 785]

each_dtype = pytest.mark.parametrize("dtype", LENGTHS, ids=lambda d: str(d).split(".")[1])
each_dim = pytest.mark.parametrize("dim", DIMS)


def points(dim: int, dtype: torch.dtype) -> Tensor:
    """A point of R^d for every length."""
    g = torch.Generator().manual_seed(dim)
    lengths = torch.tensor(LENGTHS[dtype], dtype=torch.float64)
    z = torch.randn(len(lengths), dim, dtype=torch.float64, generator=g)
    z = z / z.norm(dim=-1, keepdim=True) * lengths[:, None]
    return z.to(dtype)


def exact(v: Tensor) -> np.ndarray:
    return np.array([mpf(x) for x in v.tolist()])


def rounded(v: np.ndarray) -> np.ndarray:
    return np.array([float(x) for x in v])


def largest(got: Tensor, want: np.ndarray, scale: float = 1.0) -> float:
    """The largest error of an element, relative to `scale`."""
    return float(np.abs(got.double().numpy() - want).max() / scale)


@dataclass
class Truth:
    """One point z, its image and the pullback there."""

    z: np.ndarray

    def __post_init__(self) -> None:
        self.square = mp.fdot(self.z, self.z)
        self.rho = 2 / (1 + self.square)
        self.head = self.z * self.rho
        self.last = (self.square - 1) / (self.square + 1)
        self.log_det = len(self.z) * mpmath.log(self.rho)

    def pullback(self, g: np.ndarray, g_log_det: mpf) -> np.ndarray:
        """From d(z rho) = rho dz + z drho, d(1 - rho) = -drho, d log rho = drho / rho."""
        drho = mp.fdot(g[:-1], self.z) - g[-1] + len(self.z) * g_log_det / self.rho
        return g[:-1] * self.rho - drho * self.rho**2 * self.z


@each_dim
@each_dtype
def test_image_and_log_det(dim: int, dtype: torch.dtype) -> None:
    z = points(dim, dtype)
    s, log_det = ops.stereographic(z)
    unit = torch.finfo(dtype).eps
    with mp.workdps(DIGITS):
        for k in range(len(z)):
            truth = Truth(exact(z[k]))
            want = rounded(truth.head)
            # Elements below the normal numbers are right to a multiple of the smallest.
            size = max(np.abs(want).max(), torch.finfo(dtype).tiny * 1e8)
            assert largest(s[k, :-1], want) <= 4 * unit
            assert largest(s[k, :-1], want, size) <= 4 * unit
            assert abs(s[k, -1].item() - float(truth.last)) <= 3 * unit
            error = abs(log_det[k].item() - float(truth.log_det))
            # float64 sums |z|^2 in float64, and log rho next to 1 is |z|^2 - 1.
            slack = 0.0 if dtype == torch.float32 else dim
            assert error <= 4 * unit * (abs(float(truth.log_det)) + slack)
    assert s.isfinite().all()
    assert log_det.isfinite().all()


@each_dim
@each_dtype
def test_round_trip(dim: int, dtype: torch.dtype) -> None:
    z = points(dim, dtype)
    s, log_det = ops.stereographic(z)
    back, inverse_log_det = ops.stereographic_inverse(s)
    size = z.abs().amax(-1, keepdim=True)
    kept = (s[:, :-1].abs().amax(-1) > torch.finfo(dtype).tiny * 1e8) | (size[:, 0] < 1)
    assert kept.sum() >= len(FAR) + len(NEAR_1)
    assert ((back - z).abs() / size)[kept].max() <= 12 * torch.finfo(dtype).eps
    error = (inverse_log_det + log_det).abs() / (log_det.abs() + dim)
    assert error[kept].max() <= 12 * torch.finfo(dtype).eps


@each_dim
@each_dtype
def test_inverse_and_its_log_det(dim: int, dtype: torch.dtype) -> None:
    """On points of the sphere as they are, rounded: only their direction counts."""
    unit = torch.finfo(dtype).eps
    z = points(dim, dtype)
    s = ops.stereographic(z[z.norm(dim=-1) < 1e29])[0] * 1.5  # the digits of the truth end there
    z, log_det = ops.stereographic_inverse(s)
    with mp.workdps(DIGITS):
        for k in range(len(s)):
            v = exact(s[k])
            gap = mpmath.sqrt(mp.fdot(v, v)) - v[-1]
            want = rounded(v[:-1] / gap)
            want_log_det = -dim * mpmath.log(gap / mpmath.sqrt(mp.fdot(v, v)))
            assert largest(z[k], want, np.abs(want).max()) <= 8 * unit
            assert abs(log_det[k].item() - float(want_log_det)) <= 8 * unit * max(
                abs(float(want_log_det)), dim * abs(v[-1]) if dtype == torch.float32 else dim
            )


@each_dim
@each_dtype
def test_pullbacks(dim: int, dtype: torch.dtype) -> None:
    unit = torch.finfo(dtype).eps
    z = points(dim, dtype).requires_grad_()
    s, log_det = ops.stereographic(z)
    g = torch.arange(s.numel()).add(0.5).sin().reshape(s.shape).to(dtype)
    g_log_det = torch.arange(len(z)).cos().to(dtype)
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        (grad,) = torch.autograd.grad(
            (s, log_det), z, (g * weights[0], g_log_det * weights[1]), retain_graph=True
        )
        assert grad.isfinite().all()
        with mp.workdps(DIGITS):
            for k in range(len(z)):
                truth = Truth(exact(z[k].detach()))
                want = rounded(
                    truth.pullback(exact(g[k]) * weights[0], mpf(g_log_det[k].item()) * weights[1])
                )
                # Relative to the terms that make the gradient.
                size = weights[0] * float(truth.rho) + weights[1] * dim * float(
                    abs(g_log_det[k].item()) * mpmath.sqrt(mp.fdot(truth.head, truth.head))
                )
                size = max(size, torch.finfo(dtype).tiny * 1e8)
                assert largest(grad[k], want, size) <= 12 * unit, (LENGTHS[dtype][k], weights)


@each_dim
@each_dtype
def test_inverse_pullbacks(dim: int, dtype: torch.dtype) -> None:
    unit = torch.finfo(dtype).eps
    z = points(dim, dtype)
    z = z[(z.norm(dim=-1) < 1e15) & (z.norm(dim=-1) > 1e-30)]
    s = (ops.stereographic(z)[0] * 1.5).requires_grad_()
    back, log_det = ops.stereographic_inverse(s)
    g = torch.arange(back.numel()).add(0.5).sin().reshape(back.shape).to(dtype)
    g_log_det = torch.arange(len(z)).cos().to(dtype)
    (grad,) = torch.autograd.grad((back, log_det), s, (g, g_log_det))
    with mp.workdps(DIGITS):
        for k in range(len(z)):
            v, g_, h = exact(s[k].detach()), exact(g[k]), mpf(g_log_det[k].item())
            length = mpmath.sqrt(mp.fdot(v, v))
            gap = length - v[-1]
            # z = h / gap, log det = -d log(gap / N); d gap = s/N - e, dN = s/N.
            from_gap = -mp.fdot(g_, v[:-1]) / gap**2 - dim * h / gap
            want = v / length * from_gap + v / length**2 * dim * h
            want[-1] -= from_gap
            want[:-1] += g_ / gap
            want = rounded(want)
            assert largest(grad[k], want, np.abs(want).max()) <= 16 * unit
    # Tangent to the sphere.
    along = (grad * s.detach()).sum(-1).abs() / (grad.norm(dim=-1) * s.detach().norm(dim=-1))
    assert along.max() <= 16 * unit


def test_inverse_log_det_is_that_of_the_tangent_map() -> None:
    s = torch.nn.functional.normalize(torch.randn(4, 5, dtype=torch.float64), dim=-1)
    for point, log_det in zip(s, ops.stereographic_inverse(s)[1], strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: ops.stereographic_inverse(v)[0], point
        )
        want = 0.5 * torch.linalg.slogdet(jacobian @ jacobian.T).logabsdet
        torch.testing.assert_close(log_det, want, rtol=1e-12, atol=1e-12)


def test_poles() -> None:
    """The origin is the south pole; the north pole is the missing point."""
    z = torch.zeros(1, 3, requires_grad=True)
    s, log_det = ops.stereographic(z)
    assert s.tolist() == [[0.0, 0.0, 0.0, -1.0]]
    torch.testing.assert_close(log_det, torch.full((1,), 3 * np.log(2.0)).float())
    (grad,) = torch.autograd.grad(s.sum() + log_det.sum(), z)
    assert grad.tolist() == [[2.0, 2.0, 2.0]]

    south = torch.tensor([[0.0, 0.0, -1.0]], requires_grad=True)
    back, log_det = ops.stereographic_inverse(south)
    assert back.tolist() == [[0.0, 0.0]]
    (grad,) = torch.autograd.grad(back.sum() + log_det.sum(), south)
    assert grad.tolist() == [[0.5, 0.5, 0.0]]

    north, log_det = ops.stereographic_inverse(torch.tensor([[0.0, 0.0, 1.0]]))
    assert north.isnan().all()
    assert log_det.item() == float("inf")


def test_nan_and_infinity_do_not_spread_to_other_rows() -> None:
    for rows in (5, 200):
        for dim in (3, 99):
            z = torch.randn(rows, dim)
            z[1, 0], z[2, 1] = float("nan"), float("inf")
            s, log_det = ops.stereographic(z)
            good = torch.arange(rows) != 1
            assert s[1].isnan().any()
            assert log_det[1].isnan()
            good[2] = False
            assert s[good].isfinite().all()
            assert log_det[good].isfinite().all()


@pytest.mark.parametrize("dim", [2, 40, 700])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_points_far_away_go_to_the_north_pole(dtype: torch.dtype, dim: int) -> None:
    length = 1e20 if dtype != torch.float64 else 1e160  # its square overflows
    z = torch.zeros(3, dim, dtype=dtype)
    z[0, 0] = z[1, -1] = length
    z[2] = 0.5
    s, log_det = ops.stereographic(z)
    assert s[:2, -1].tolist() == [1.0, 1.0]
    assert s[2].tolist() == ops.stereographic(z[2])[0].tolist()
    want = dim * (math.log(2) - 2 * math.log(length))
    torch.testing.assert_close(
        log_det[:2].double(), torch.full((2,), want, dtype=torch.float64), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("dim", [3, 40, 700])
@pytest.mark.parametrize("scale", [2.0**-80, 2.0**64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_inverse_depends_on_the_direction_alone(dtype: torch.dtype, scale: float, dim: int) -> None:
    if dtype == torch.float64:
        scale = scale**8
    generator = torch.Generator().manual_seed(dim)
    s = torch.nn.functional.normalize(torch.randn(5, dim, generator=generator, dtype=dtype), dim=-1)
    s[1, :-1] *= 1e-5  # near a pole
    grad = torch.randn(5, dim - 1, generator=generator, dtype=dtype)
    results = []
    for factor in (1.0, scale):
        leaf = (s * factor).requires_grad_()
        z, log_det = ops.stereographic_inverse(leaf)
        (g,) = torch.autograd.grad([z, log_det], leaf, [grad, torch.ones_like(log_det)])
        results.append((z.detach(), log_det.detach(), g * factor))
    for got, want in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, want)

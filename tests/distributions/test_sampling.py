"""The von Mises-Fisher sampler against the exact distribution of the cosine.

References: A and A' in 60 digits, the distribution function of the angle by quadrature in
float64, isotropy around the mean direction, and SciPy's sampler where it works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowkernels.distributions import VonMisesFisher
from tests.reference.high_precision import bessel

from .cases import direction, within

DIMS = [2, 3, 8, 64, 256, 785, 3073]
LEAST = 5.7e-7  # the probability of five standard errors


def concentrations(dim: int) -> list[float]:
    return [0.0, 1e-3, 1.0, 10.0, float(dim), 2.0 * dim, 1e3, 1e6]


CASES = [(p, k) for p in DIMS for k in concentrations(p)]


@dataclass
class Draws:
    """x (n, dim) and d cosine / d kappa (n,) of each."""

    dim: int
    kappa: float
    loc: Tensor
    x: Tensor
    slope: Tensor


@pytest.fixture(scope="module", params=CASES, ids="{0[0]}-{0[1]:g}".format)
def draws(request: pytest.FixtureRequest) -> Draws:
    dim, kappa = request.param
    torch.manual_seed(dim)
    n = 10_000 if dim <= 64 else 4_000 if dim <= 785 else 2_000
    loc = direction(dim, seed=1)
    k = torch.full((n,), kappa, dtype=torch.float64, requires_grad=True)
    x = VonMisesFisher(loc, k).rsample()
    (slope,) = torch.autograd.grad((x @ loc).sum(), k)
    return Draws(dim, kappa, loc, x.detach(), slope)


def gap(x: Tensor, loc: Tensor) -> Tensor:
    """1 - cosine."""
    return (x - loc).square().sum(-1) / 2


def angle(x: Tensor, loc: Tensor) -> Tensor:
    return 2 * torch.atan2((x - loc).norm(dim=-1), (x + loc).norm(dim=-1))


def distribution_function(dim: int, kappa: float, at: np.ndarray) -> np.ndarray:
    """P(angle <= at), by quadrature of exp(kappa cos) sin^(dim - 2) around its mode."""
    power = dim - 2
    # kappa sin^2 = power cos at the mode
    mode = math.acos(2 * kappa / (power + math.hypot(power, 2 * kappa))) if power else 0.0
    width = 1 / math.sqrt(max(kappa * math.cos(mode) + power, 1e-2))
    low, high = max(mode - 14 * width, 0.0), min(mode + 40 * width, math.pi)

    def log_density(t: np.ndarray) -> np.ndarray:
        fall = -2 * kappa * np.sin((t - mode) / 2) * np.sin((t + mode) / 2)
        with np.errstate(divide="ignore"):
            return fall + (power * np.log(np.sin(t) / np.sin(mode)) if power else 0.0)

    edges = np.linspace(low, high, 2001)
    node, weight = np.polynomial.legendre.leggauss(8)
    half = (edges[1] - edges[0]) / 2
    points = edges[:-1, None] + half * (node + 1)
    cells = (weight * np.exp(log_density(points))).sum(-1) * half
    total = cells.sum()
    start = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(cells) - 1)
    below = np.concatenate([[0.0], np.cumsum(cells)])[start]
    # the part of the cell up to the point
    inner = np.clip(at - edges[start], 0, 2 * half)[:, None] / 2
    rest = (weight * np.exp(log_density(edges[start][:, None] + inner * (node + 1)))).sum(-1)
    return np.clip((below + rest * inner[:, 0]) / total, 0, 1)


def truth(dim: int, kappa: float) -> tuple[float, float]:
    """1 - A and A'."""
    exact = bessel(dim / 2 - 1, kappa)
    return float(exact["B"]), float(exact["dA"])


def test_cosine_follows_its_distribution(draws: Draws) -> None:
    dim, kappa, x, loc, slope = draws.dim, draws.kappa, draws.x, draws.loc, draws.slope
    n, lost = len(x), gap(x, loc)
    complement, variance = truth(dim, kappa)
    assert abs(lost.mean().item() - complement) <= 5 * math.sqrt(variance / n)
    deviation = (lost - complement).square()
    assert abs(deviation.mean().item() - variance) <= 5 * deviation.std().item() / math.sqrt(n)
    angles = angle(x, loc).numpy()
    test = stats.kstest(angles, lambda t: distribution_function(dim, kappa, t))
    assert test.pvalue > LEAST
    # pathwise: the mean slope of the cosine is the slope of the mean
    assert slope.isfinite().all()
    assert abs(slope.mean().item() - variance) <= 5 * slope.std().item() / math.sqrt(n)


def test_tangential_part_is_isotropic(draws: Draws) -> None:
    dim, x, loc = draws.dim, draws.x, draws.loc
    n = len(x)
    assert (x.norm(dim=-1) - 1).abs().max() <= 8 * torch.finfo(x.dtype).eps
    axes = torch.stack([direction(dim, seed=s) for s in (5, 6)])
    axes = axes - (axes @ loc)[:, None] * loc
    axes = axes / axes.norm(dim=-1, keepdim=True)
    tangent = x - (x @ loc)[:, None] * loc
    tangent = tangent / tangent.norm(dim=-1, keepdim=True)
    along = tangent @ axes.T
    if dim == 2:  # a sign
        assert abs(along[:, 0].sign().mean().item()) <= 5 / math.sqrt(n)
    else:
        half = (dim - 2) / 2  # (1 + coordinate) / 2 of a uniform point of S^(dim-2)
        for coordinate in along.T.numpy():
            law = stats.beta(half, half)
            assert stats.kstest((1 + coordinate) / 2, law.cdf).pvalue > LEAST
        assert within(along.square(), 1 / (dim - 1))
        # all coordinates together: |mean|^2 is a chi^2 with dim - 1 degrees of freedom
        square = n * (dim - 1) * tangent.mean(0).square().sum().item()
        assert stats.chi2(dim - 1).sf(square) > LEAST
    # it is uncorrelated with the cosine
    both = torch.stack([gap(x, loc), along[:, 0], along[:, 1].square()][: 2 if dim == 2 else 3])
    assert torch.corrcoef(both)[0, 1:].abs().max() <= 5 / math.sqrt(n)


def _axes(dim: int) -> list[Tensor]:
    """+-e_i, and 1e-7 away from them."""
    out = []
    for i in sorted({0, dim // 2, dim - 1}):
        e = torch.zeros(dim, dtype=torch.float64)
        e[i] = 1
        near = e + 1e-7 * direction(dim, seed=i)
        out += [e, -e, near / near.norm(), -near / near.norm()]
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kappa", [1.0, 1e6])
@pytest.mark.parametrize("dim", [2, 3, 64, 785])
def test_mean_directions_at_and_near_the_axes(dim: int, kappa: float, dtype: torch.dtype) -> None:
    n = 500
    complement, variance = truth(dim, kappa)
    for exact in _axes(dim):
        loc = exact.to(dtype).requires_grad_()
        k = torch.tensor(kappa, dtype=dtype, requires_grad=True)
        x = VonMisesFisher(loc, k, validate_args=False).rsample((n,))
        weight = torch.linspace(-1, 1, dim, dtype=dtype)
        for grad in torch.autograd.grad((x * weight).sum(), (loc, k)):
            assert grad.isfinite().all()
        x, unit = x.detach().double(), loc.detach().double()
        assert (x.norm(dim=-1) - 1).abs().max() <= 8 * torch.finfo(dtype).eps
        lost = gap(x, unit)
        rounding = torch.finfo(dtype).eps * (2 * complement) ** 0.5
        assert abs(lost.mean().item() - complement) <= 5 * math.sqrt(variance / n) + rounding
        tangent = x - (x @ unit)[:, None] * unit
        assert within(tangent @ direction(dim, seed=7), 0.0)


@pytest.mark.parametrize("kappa", [0.0, 1e-30, 1e12, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_concentrations(kappa: float, dtype: torch.dtype) -> None:
    for dim in (2, 3, 100):
        k = torch.tensor(kappa, dtype=dtype, requires_grad=True)
        x = VonMisesFisher(direction(dim, dtype=dtype), k, validate_args=False).rsample((64,))
        assert (x.double().norm(dim=-1) - 1).abs().max() <= 8 * torch.finfo(dtype).eps
        (grad,) = torch.autograd.grad(x.sum(), k)
        assert grad.isfinite()


def test_batch_elements_are_independent() -> None:
    kappa = torch.tensor([0.0, 1.0, 50.0, 1e4], dtype=torch.float64)
    loc = direction(4, 6, seed=3)
    x = VonMisesFisher(loc, kappa).rsample((3000,))
    assert x.shape == (3000, 4, 6)
    for j in range(4):
        complement, variance = truth(6, kappa[j].item())
        lost = gap(x[:, j], loc[j]).mean().item()
        assert abs(lost - complement) <= 5 * math.sqrt(variance / 3000)
    # draws of different batch elements are independent
    lost = (x * loc).sum(-1)
    correlation = torch.corrcoef(lost.T) - torch.eye(4)
    assert correlation.abs().max() <= 5 / math.sqrt(3000)


def test_draws_depend_on_the_seed() -> None:
    d = VonMisesFisher(direction(5), 3.0)
    torch.manual_seed(7)
    first, second = d.sample((10,)), d.sample((10,))
    torch.manual_seed(7)
    torch.testing.assert_close(d.sample((10,)), first, rtol=0, atol=0)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_draw_repeats(dtype: torch.dtype) -> None:
    x = VonMisesFisher(direction(3, dtype=dtype), 2.0).sample((20_000,))
    assert len(torch.unique(x, dim=0)) == len(x)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 2.0), (3, 10.0), (8, 30.0), (64, 64.0)])
def test_matches_scipys_sampler(dim: int, kappa: float) -> None:
    loc, n = direction(dim), 4000
    oracle = stats.vonmises_fisher(loc.numpy(), kappa)
    theirs = torch.from_numpy(oracle.rvs(n, random_state=np.random.default_rng(0)))
    mine = VonMisesFisher(loc, kappa).sample((n,))
    axis = direction(dim, seed=2)
    for project in (loc, axis):
        assert stats.ks_2samp((mine @ project).numpy(), (theirs @ project).numpy()).pvalue > LEAST
    d = VonMisesFisher(loc, kappa)
    np.testing.assert_allclose(d.log_prob(mine).numpy(), oracle.logpdf(mine.numpy()), rtol=1e-9)
    np.testing.assert_allclose(d.entropy().item(), oracle.entropy(), rtol=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 64, 785])
def test_float32_draws_follow_the_distribution(dim: int) -> None:
    """In float32: the distribution of the cosine, and the mean slope, which cancels most."""
    n, loc = 4000, direction(dim, seed=1, dtype=torch.float32)
    exact = loc.double() / loc.double().norm()
    for kappa in (1e-3, 10.0, 2.0 * dim, 1e6):
        k = torch.full((n,), kappa, requires_grad=True)
        x = VonMisesFisher(loc, k).rsample()
        (slope,) = torch.autograd.grad((x @ loc).sum(), k)
        angles = angle(x.detach().double(), exact).numpy()
        test = stats.kstest(angles, lambda t, k=kappa: distribution_function(dim, k, t))
        assert test.pvalue > LEAST
        assert within(slope.double(), truth(dim, kappa)[1])

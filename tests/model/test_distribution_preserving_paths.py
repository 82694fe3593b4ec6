"""Marginals with their tails, and distribution-preserving paths."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from flowkernels.interpolation import (
    CauchyLength,
    Chi,
    Marginal,
    StandardCauchy,
    StandardNormal,
    cauchy_linear,
    get_path,
    spherical_cauchy_linear,
)

MARGINALS: list[tuple[Marginal, object]] = [
    (StandardNormal(), stats.norm()),
    (StandardCauchy(), stats.cauchy()),
    *((Chi(d), stats.chi(d)) for d in (1, 2, 3, 100, 784, 3072)),
]
each_marginal = pytest.mark.parametrize(
    ("law", "exact"),
    MARGINALS,
    ids=[f"{type(a).__name__}{getattr(a, 'dim', '')}" for a, _ in MARGINALS],
)
TAILS = torch.tensor([1e-100, 1e-30, 1e-12, 1e-5, 0.01, 0.2, 0.5, 0.8, 0.99], dtype=torch.float64)


@each_marginal
def test_tails_and_their_inverses(law: Marginal, exact: stats.rv_continuous) -> None:
    for inverse, function, scipy in (
        (law.icdf, law.cdf, exact.ppf),
        (law.isf, law.sf, exact.isf),
    ):
        x = inverse(TAILS)
        want = torch.as_tensor(scipy(TAILS.numpy()))
        # torch's incomplete gamma functions are good to about 1e-10
        assert_close(x, want, rtol=1e-10, atol=1e-300)
        # back through the tail: its condition number is about |x| times the hazard rate
        condition = 1 + (TAILS.log()).abs()
        assert ((function(x) / TAILS - 1).abs() / condition < 1e-10).all()


@pytest.mark.parametrize("dim", [1, 2, 100, 3072])
def test_chi_quantiles_at_zero_and_one(dim: int) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert Chi(dim).icdf(ends).tolist() == [0.0, math.inf]
    assert Chi(dim).isf(ends).tolist() == [math.inf, 0.0]


def test_chi_rejects_dimension_zero() -> None:
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        Chi(0)


@pytest.mark.parametrize("dim", [1, 2, 3, 100, 784, 3072])
def test_length_of_an_isotropic_cauchy_vector(dim: int) -> None:
    law, square = CauchyLength(dim), stats.betaprime(dim / 2, 0.5)
    x = torch.logspace(-3, 8, 60, dtype=torch.float64)
    assert_close(law.sf(x), torch.as_tensor(square.sf(x.numpy() ** 2)), rtol=1e-11, atol=0)
    assert_close(law.cdf(x), torch.as_tensor(square.cdf(x.numpy() ** 2)), rtol=1e-11, atol=1e-15)
    # for a tail near 1 the other tail is the accurate one
    assert_close(law.cdf(law.icdf(TAILS)), TAILS, rtol=1e-11, atol=0)
    assert_close(law.sf(law.isf(TAILS)), TAILS, rtol=1e-11, atol=0)
    limits = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert law.icdf(limits).tolist() == [0.0, math.inf]
    assert law.isf(limits).tolist() == [math.inf, 0.0]
    x = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(law.cdf, x)
    assert torch.autograd.gradcheck(law.sf, x)
    p = torch.tensor([0.05, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(law.icdf, p)
    assert torch.autograd.gradcheck(law.isf, p)


def test_length_rejects_dimension_zero() -> None:
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        CauchyLength(0)


def ends(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, d, dtype=torch.float64, generator=g)
    return a, b


# Kolmogorov-Smirnov distance of the length at t = 1/2 from chi_100, for 20,000 pairs of N(0, I)
# (the setting of table 1 of Lesniak et al., arXiv 1806.01670).
DISTANCES = {
    "linear": 0.985, "norm_corrected": 0.082, "slerp": 0.088, "cauchy_linear": 0.003,
    "spherical_cauchy_linear": 0.006, "normalized_linear": 0.007,
}  # fmt: skip


@pytest.mark.parametrize("name", DISTANCES)
def test_distance_of_the_length_from_chi(name: str) -> None:
    distances = []
    for seed in range(6):  # the distance of one sample has a standard deviation of 0.0035
        a, b = ends(20_000, 100, seed)
        lengths = get_path(name)(a, b, 0.5).norm(dim=-1)
        distances.append(stats.kstest(lengths.numpy(), stats.chi(100).cdf).statistic)
    assert abs(np.mean(distances) - DISTANCES[name]) < 0.005, distances


@pytest.mark.parametrize("t", [0.1, 0.37, 0.9])
def test_paths_preserve_distributions(t: float) -> None:
    limit = 1.95 / math.sqrt(5000)  # exceeded by chance with probability 1e-3
    a, b = ends(5000, 16)
    x = cauchy_linear(StandardNormal())(a, b, t)
    assert stats.kstest(x[:, 3].numpy(), "norm").statistic < limit
    lengths = spherical_cauchy_linear(Chi(16))(a, b, t).norm(dim=-1)
    assert stats.kstest(lengths.numpy(), stats.chi(16).cdf).statistic < limit
    cauchy = torch.from_numpy(np.random.default_rng(0).standard_cauchy((2, 5000, 1)))
    kept = cauchy_linear(StandardCauchy())(cauchy[0], cauchy[1], t)
    assert stats.kstest(kept[:, 0].numpy(), "cauchy").statistic < limit
    assert_close(kept, (1 - t) * cauchy[0] + t * cauchy[1], rtol=1e-11, atol=1e-11)


def test_paths_between_extreme_points_are_finite_in_single_precision() -> None:
    a = torch.tensor([[30.0, -12.0]])
    for name in ("cauchy_linear", "spherical_cauchy_linear"):
        points = get_path(name)(a, -0.1 * a, torch.linspace(0, 1, 11))
        assert points.dtype == torch.float32
        assert points.isfinite().all()
        assert_close(points[:, 0], a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 10, 784, 3072])
@pytest.mark.parametrize("upper", [True, False])
def test_logarithms_of_tails_that_underflow(dim: int, upper: bool) -> None:
    law, a = Chi(dim), mpmath.mpf(dim) / 2
    factors = (1.5, 3.0, 10.0, 100.0) if upper else (0.5, 0.1, 1e-2, 1e-4)
    x = torch.tensor([f * math.sqrt(dim) for f in factors], dtype=torch.float64)
    with mpmath.workdps(40):
        squares = [mpmath.mpf(v) ** 2 / 2 for v in x.tolist()]
        tails = [
            mpmath.gammainc(a, y, regularized=True)
            if upper
            else mpmath.gammainc(a, 0, y, regularized=True)
            for y in squares
        ]
        want = torch.tensor([float(mpmath.log(t)) for t in tails], dtype=torch.float64)
    got = law.log_tail(x, upper)
    assert_close(got, want, rtol=1e-11, atol=1e-12)
    assert_close(law.from_log_tail(got, upper), x, rtol=1e-11, atol=0)


def test_normal_tail_of_any_size() -> None:
    x = torch.tensor([-1e6, -1e3, -50.0, -30.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    law = StandardNormal()
    assert_close(law.from_log_tail(law.log_tail(x, False), False), x, rtol=1e-12, atol=1e-12)
    assert_close(law.from_log_tail(law.log_tail(-x, True), True), -x, rtol=1e-12, atol=1e-12)


def test_path_between_points_whose_tails_underflow() -> None:
    """Latents of trained flows can be extreme: at 77 in R^784 the Gaussian tail is 1e-1500."""
    lengths = torch.tensor([[77.0, 23.0], [60.0, 70.0], [23.0, 28.0], [28.0, 28.5], [9.0, 77.0]])
    g = torch.Generator().manual_seed(0)
    a, b = torch.nn.functional.normalize(torch.randn(2, 5, 784, generator=g), dim=-1)
    a, b = a * lengths[:, :1], b * lengths[:, 1:]
    a.requires_grad_()
    path = get_path("spherical_cauchy_linear")(a, b, torch.linspace(0, 1, 9))
    assert_close(path[:, 0], a, rtol=1e-5, atol=1e-5)
    assert_close(path[:, -1], b, rtol=1e-5, atol=1e-5)
    low, high = lengths.amin(1, keepdim=True), lengths.amax(1, keepdim=True)
    norms = path.norm(dim=-1)
    assert ((norms > low * (1 - 1e-5)) & (norms < high * (1 + 1e-5))).all()
    path.square().sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_logarithmic_and_direct_formulas_agree() -> None:
    """Near the switch between the two, and with one extreme and one moderate end."""
    law = StandardNormal()
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    # log of the tail of 34.55 is about -601, of 34.5 about -599.6
    a = torch.tensor([[34.5, 34.55, 34.7, -34.55]], dtype=torch.float64)
    for other in (0.0, -1.0, 8.0, -34.5):
        path = cauchy_linear(law)(a, torch.full_like(a, other), t)[0]
        assert path.isfinite().all()
        assert_close(path[[0, -1]], torch.stack([a[0], torch.full_like(a[0], other)]))
        assert (path[:-1, :3].diff(dim=1) > 0).all()  # increases with the end point
    with mpmath.workdps(700):
        c = (
            mpmath.cot(mpmath.pi * mpmath.ncdf(-35)) / 2
            + mpmath.cot(mpmath.pi * mpmath.ncdf(1)) / 2
        )
        tail = mpmath.acot(c) / mpmath.pi
        want = float(mpmath.log(tail))
    middle = cauchy_linear(law)(
        torch.tensor([35.0], dtype=torch.float64), torch.tensor([-1.0], dtype=torch.float64), 0.5
    )
    assert law.log_tail(middle, True).item() == pytest.approx(want, rel=1e-12)

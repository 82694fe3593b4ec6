"""The Power Spherical: Gamma-function ratios in high precision, and the sampler's distribution."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from mpmath import mp, mpf
from scipy import stats

from flowkernels.distributions import PowerSpherical
from flowkernels.distributions.gamma_ratio import digamma_gap, log_gamma_ratio_rise, trigamma_gap

from .cases import direction, within

KAPPAS = [1e-6, 1e-3, 0.5, 1.0, 3.0, 30.0, 500.0, 784.0, 785.0, 1e4, 1e6, 1e12, 1e30]
LEAST = 5.7e-7  # the probability of five standard errors


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("dim", [2, 3, 8, 64, 785, 3073, 1_000_001])
def test_accuracy(dim: int, dtype: torch.dtype) -> None:
    unit, b = torch.finfo(dtype).eps, (dim - 1) / 2
    kappa = torch.tensor(KAPPAS, dtype=dtype)
    gap, bend = digamma_gap(kappa + b, b), trigamma_gap(kappa + b, b)
    rise = log_gamma_ratio_rise(kappa, b)
    axis = torch.zeros(dim, dtype=dtype)
    axis[0] = 1
    divergence = -(PowerSpherical(axis, kappa).entropy() - PowerSpherical(axis, 0.0).entropy())
    own = PowerSpherical(axis, kappa)._divergence_from_uniform()
    with mp.workdps(100):
        n, h = mpf(dim - 1), mpf(dim - 1) / 2

        def log_ratio(k: mpf) -> mpf:
            return mpmath.loggamma(n + k) - mpmath.loggamma(h + k)

        for i, k in enumerate(map(mpf, kappa.tolist())):
            # the rounded argument kappa + n/2 that the functions receive
            at = mpf((kappa[i] + b).item())
            want_gap = mpmath.psi(0, at + h) - mpmath.psi(0, at)
            assert abs(gap[i].item() / want_gap - 1) <= 4 * unit
            want_bend = mpmath.psi(1, at) - mpmath.psi(1, at + h)
            assert abs(bend[i].item() - want_bend) <= 4 * unit * max(want_bend, mpf(1e-37))
            want = log_ratio(k) - log_ratio(mpf(0))
            assert abs(rise[i].item() - want) <= 6 * unit * h * (1 + mpmath.log1p(k / h))
            want -= k * (mpmath.psi(0, n + k) - mpmath.psi(0, h + k))
            assert abs(own[i].item() / want - 1) <= 10 * unit
            log_area = mpmath.log(2) + mpf(dim) / 2 * mpmath.log(mpmath.pi)
            log_area -= mpmath.loggamma(mpf(dim) / 2)
            assert abs(divergence[i].item() - want) <= 4 * unit * (abs(log_area) + want)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kappa", [0.0, 1.0, 40.0, 1e3, 1e6])
@pytest.mark.parametrize("dim", [2, 3, 64, 785])
def test_draws_follow_the_distribution(dim: int, kappa: float, dtype: torch.dtype) -> None:
    """(1 - cosine) / 2 ~ Beta(n/2, n/2 + kappa); E[d cosine / d kappa] = n / (n + kappa)^2."""
    n, half = 4000, (dim - 1) / 2
    loc = direction(dim, seed=1, dtype=dtype)
    exact = loc.double() / loc.double().norm()
    k = torch.full((n,), kappa, dtype=dtype, requires_grad=True)
    x = PowerSpherical(loc, k).rsample()
    (slope,) = torch.autograd.grad((x @ loc).sum(), k)
    x = x.detach().double()
    assert (x.norm(dim=-1) - 1).abs().max() <= 8 * torch.finfo(dtype).eps
    apart = ((x - exact).square().sum(-1) / 4).numpy()
    assert stats.kstest(apart, stats.beta(half, half + kappa).cdf).pvalue > LEAST
    assert within(slope.double(), 2 * half / (2 * half + kappa) ** 2)
    across = direction(dim, seed=3)
    across = across - (across @ exact) * exact
    assert within(x @ across, 0.0)


@pytest.mark.parametrize("kappa", [1.0, 1e6])
def test_next_to_the_axes(kappa: float) -> None:
    for dim in (2, 3, 64):
        for i in (0, dim - 1):
            for sign in (1.0, -1.0):
                loc = torch.zeros(dim, dtype=torch.float64)
                loc[i] = sign
                near = loc + 1e-7 * direction(dim, seed=i)
                for mean in (loc, near / near.norm()):
                    leaf = mean.clone().requires_grad_()
                    x = PowerSpherical(leaf, kappa, validate_args=False).rsample((300,))
                    assert (x.norm(dim=-1) - 1).abs().max() < 2e-15
                    (grad,) = torch.autograd.grad(x.sum(), leaf)
                    assert grad.isfinite().all()
                    lost = (x.detach() - mean).square().sum(-1) / 2
                    n = dim - 1
                    variance = n * (n + 2 * kappa) / ((n + kappa) ** 2 * (n + kappa + 1))
                    assert abs(lost.mean().item() - n / (n + kappa)) <= 5 * math.sqrt(
                        variance / 300
                    )

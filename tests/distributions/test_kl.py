"""Divergences against quadrature, draws and high precision; registration."""

from __future__ import annotations

import pytest
import torch
from mpmath import mp, mpf
from torch.distributions import kl_divergence
from torch.testing import assert_close

from flowkernels.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher
from flowkernels.distributions.kl import bregman_divergence
from tests.reference.high_precision import bessel

from .cases import direction, quadrature, within


def vmf(dim, kappa, seed=0):
    return VonMisesFisher(direction(dim, seed=seed), kappa)


def uniform(dim, kappa=0.0, seed=0):
    return HypersphericalUniform(dim, dtype=torch.float64)


def power(dim, kappa, seed=0):
    return PowerSpherical(direction(dim, seed=seed), kappa)


PAIRS = {
    "vmf, uniform": (vmf, uniform),
    "vmf, vmf": (vmf, vmf),
    "uniform, vmf": (uniform, vmf),
    "power spherical, uniform": (power, uniform),
    "uniform, uniform": (uniform, uniform),
}
each_pair = pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)


@each_pair
@pytest.mark.parametrize(("kappa", "other"), [(1.0, 0.2), (4.0, 4.0), (2.0, 60.0), (60.0, 0.0)])
@pytest.mark.parametrize("dim", [2, 3])
def test_quadrature(first, second, dim, kappa, other):
    p, q = first(dim, kappa), second(dim, other, seed=5)
    x, weight = quadrature(getattr(p, "loc", direction(dim)))
    log_p = p.log_prob(x)
    want = (weight * log_p.exp() * (log_p - q.log_prob(x)).clamp(-1e5, 1e5)).sum()
    assert_close(kl_divergence(p, q), want, rtol=1e-11, atol=1e-11)


@each_pair
def test_draws(first, second):
    p, q = first(40, 30.0), second(40, 12.0, seed=3)
    x = p.sample((4000,))
    difference = p.log_prob(x) - q.log_prob(x)
    assert within(difference, kl_divergence(p, q))


@each_pair
def test_batches_broadcast(first, second):
    p, q = first(4, 2.0).expand((3, 1)), second(4, 5.0, seed=1).expand((2,))
    assert kl_divergence(p, q).shape == (3, 2)
    assert_close(kl_divergence(p, q)[2, 1], kl_divergence(first(4, 2.0), second(4, 5.0, seed=1)))
    assert kl_divergence(p.expand((0, 3, 1)), q).shape == (0, 3, 2)
    with pytest.raises(ValueError, match=r"same sphere.* 4 and 5"):
        kl_divergence(p, second(5, 1.0))


GATES = {torch.float64: (5e-14, 1e-14), torch.float32: (2e-6, 3e-6)}


@pytest.mark.parametrize("dtype", GATES, ids=str)
@pytest.mark.parametrize("dim", [2, 3, 64, 785, 1_000_000])
def test_close_and_distant_concentrations(dim, dtype):
    """Relative errors against 60 digits, also of the derivative, which cancels."""
    ratios = [1e-9, 1e-6, 1e-3, 0.3, 0.66, 1.7, 2.1, 10, 1e3, -1e-7, -0.01, -0.5, -0.7, -0.999]
    allowed, allowed_slope = GATES[dtype]
    for kappa in (1e-3, 0.5, 30.0, 784.0, 1e6):
        k = torch.full((len(ratios),), kappa, dtype=dtype)
        other = (k * (1 + torch.tensor(ratios, dtype=torch.float64))).to(dtype).requires_grad_()
        got = bregman_divergence(k, other, dim)
        (slope,) = torch.autograd.grad(got.sum(), other)
        at = bessel(mpf(dim) / 2 - 1, k[0].item())
        for i, there in enumerate(other.tolist()):
            to = bessel(mpf(dim) / 2 - 1, there)
            with mp.workdps(60):
                want = to["L"] - at["L"] - at["A"] * (mpf(there) - mpf(k[0].item()))
                want_slope = to["A"] - at["A"]
                if there == k[0].item():
                    assert got[i].item() == 0 == slope[i].item()
                    continue
                assert abs(got[i].item() / want - 1) <= allowed
                assert abs(slope[i].item() / want_slope - 1) <= allowed_slope


@pytest.mark.parametrize("dim", [3, 785])
def test_identical_and_close(dim):
    p = vmf(dim, 50.0)
    assert kl_divergence(p, p).item() == 0
    # the loc term alone: kappa A(kappa) |difference|^2 / 2
    near = p.loc + 1e-7 * direction(dim, seed=8)
    near = near / near.norm()
    q = VonMisesFisher(near, 50.0)
    want = 50 * p.mean.norm() * (p.loc - near).square().sum() / 2
    assert_close(kl_divergence(p, q), want, rtol=1e-12, atol=0)


def test_not_registered():
    with pytest.raises(NotImplementedError):
        kl_divergence(power(3, 1.0), vmf(3, 1.0))

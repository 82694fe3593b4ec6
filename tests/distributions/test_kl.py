"""Divergences against quadrature, draws and high precision; registration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mpmath import mp, mpf
from torch.distributions import kl_divergence
from torch.testing import assert_close

import flowkernels.distributions
from flowkernels.distributions import (
    HypersphericalUniform,
    IsotropicCauchy,
    MixtureOfVonMisesFisher,
    PowerSpherical,
    SphericalCauchy,
    VonMisesFisher,
)
from flowkernels.distributions.bregman import bregman_divergence
from tests.reference.high_precision import bessel

from .cases import direction, quadrature, rho_of, within


def vmf(dim, kappa, seed=0):
    return VonMisesFisher(direction(dim, seed=seed), kappa)


def uniform(dim, kappa=0.0, seed=0):
    return HypersphericalUniform(dim, dtype=torch.float64)


def power(dim, kappa, seed=0):
    return PowerSpherical(direction(dim, seed=seed), kappa)


def cauchy(dim, kappa, seed=0):
    return SphericalCauchy(direction(dim, seed=seed), rho_of(kappa))


PAIRS = {
    "vmf, uniform": (vmf, uniform),
    "vmf, vmf": (vmf, vmf),
    "uniform, vmf": (uniform, vmf),
    "power spherical, uniform": (power, uniform),
    "uniform, uniform": (uniform, uniform),
    "uniform, power spherical": (uniform, power),
    "power spherical, vmf": (power, vmf),
    "vmf, power spherical": (vmf, power),
    "spherical cauchy, uniform": (cauchy, uniform),
    "uniform, spherical cauchy": (uniform, cauchy),
    "spherical cauchy, spherical cauchy": (cauchy, cauchy),
    "spherical cauchy, vmf": (cauchy, vmf),
    "spherical cauchy, power spherical": (cauchy, power),
}
each_pair = pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)


@each_pair
@pytest.mark.parametrize(("kappa", "other"), [(1.0, 0.2), (4.0, 4.0), (2.0, 60.0), (60.0, 0.0)])
@pytest.mark.parametrize("dim", [2, 3])
def test_quadrature(first, second, dim, kappa, other):
    p, q = first(dim, kappa), second(dim, other, seed=5)
    # Around the direction opposite to which a density may be 0, and its logarithm infinite.
    axis = q if isinstance(q, PowerSpherical) else p
    x, weight = quadrature(getattr(axis, "loc", direction(dim)))
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


@pytest.mark.parametrize("dim", [2, 3, 50, 785])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("sign", [1, -1])
def test_vmf_from_power_spherical(dim, kappa, sign):
    """The mean of log((1 + cosine) / 2), of equal and opposite directions, in 30 digits."""
    loc = direction(dim)
    other = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    p, q = VonMisesFisher(loc, kappa), PowerSpherical(sign * loc, other)
    value = kl_divergence(p, q)
    with mp.workdps(30):
        n, k = dim - 1, mpf(kappa)

        middle = mp.asin(min(mpf(1), mp.sqrt(n / k))) if kappa > n else mp.pi / 2
        width = 1 / mp.sqrt(k + n)

        def density(angle):  # about 1 at the mode: mpmath's tolerance is absolute
            power = (mp.sin(angle) / mp.sin(middle)) ** (n - 1)
            return power * mp.exp(2 * k * (mp.sin(middle / 2) ** 2 - mp.sin(angle / 2) ** 2))

        def log_power(angle):
            return 2 * mp.log(mp.cos(angle / 2) if sign == 1 else mp.sin(angle / 2))

        ends = [mpf(0), *(middle + width * i for i in range(-12, 13)), mp.pi]
        ends = sorted({min(max(e, mpf(0)), mp.pi) for e in ends})
        whole = mp.quad(density, ends)
        mean = mp.quad(lambda a: density(a) * log_power(a), ends) / whole
        # KL = KL(p || uniform) - log c(2) - 2 mean, log c(k) = G(k) - G(0)
        h = mpf(n) / 2
        rise = sum(
            s * mp.loggamma(m + k) for s, m, k in ((1, n, 2), (-1, h, 2), (-1, n, 0), (1, h, 0))
        )
        start = mpf(kl_divergence(p, uniform(dim)).item())
        want = start - rise - 2 * mean
        unit = torch.finfo(torch.float64).eps
        of_rise = 6 * unit * h * (1 + mp.log1p(2 / h))  # the stated error of G(k) - G(0)
        assert abs(value.item() - want) <= 8 * unit * (start + 2 * abs(mean)) + of_rise
        (slope,) = torch.autograd.grad(value, other)
        rises = mp.psi(0, n + 2) - mp.psi(0, h + 2)
        assert abs(slope.item() + mean + rises) <= 16 * unit * (abs(mean) + rises)


@pytest.mark.parametrize("dim", [2, 3, 64, 785, 1_000_000])
def test_uniform_from_power_spherical(dim):
    """Small concentrations, where the terms cancel, and large ones, in 60 digits."""
    kappas = [1e-6, 1e-3, 0.5, 1.0, 30.0, 784.0, 785.0, 1e6]
    q = PowerSpherical(direction(dim), torch.tensor(kappas, dtype=torch.float64))
    got = kl_divergence(uniform(dim), q)
    with mp.workdps(60):
        n, h = mpf(dim - 1), mpf(dim - 1) / 2
        for value, k in zip(got.tolist(), map(mpf, kappas), strict=True):
            rise = sum(
                s * mp.loggamma(m + c) for s, m, c in ((1, n, k), (-1, h, k), (-1, n, 0), (1, h, 0))
            )
            want = k * (mp.psi(0, n) - mp.psi(0, h)) - rise
            assert abs(value / want - 1) <= 4e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@each_pair
def test_dtypes(first, second, dtype):
    p, q = first(5, 2.0), second(5, 7.0, seed=2)
    for d in (p, q):
        for name in ("loc", "concentration", "rho"):
            if hasattr(d, name):
                setattr(d, name, getattr(d, name).to(dtype))
        if isinstance(d, HypersphericalUniform):
            d.dtype = dtype
    got = kl_divergence(p, q)
    wide = torch.promote_types(dtype, torch.float32)
    assert got.dtype == wide
    tolerance = 4e-2 if dtype == torch.bfloat16 else 64 * torch.finfo(wide).eps
    want = kl_divergence(first(5, 2.0), second(5, 7.0, seed=2))
    assert_close(got.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("pair", [name for name in PAIRS if name != "uniform, uniform"])
def test_gradients(pair, dim):
    """In the concentrations and, by differences along the sphere, in the directions."""
    first, second = PAIRS[pair]
    p, q = first(dim, 2.0), second(dim, 7.0, seed=2)
    names = [(d, n) for d in (p, q) for n in ("concentration", "rho", "loc") if hasattr(d, n)]
    leaves = [getattr(d, n).detach().clone().requires_grad_() for d, n in names]

    def value(*tensors):
        made = {p: {}, q: {}}
        for (d, name), t in zip(names, tensors, strict=True):
            made[d][name] = t / t.norm() if name == "loc" else t
        built = [type(d)(**a, validate_args=False) if a else d for d, a in made.items()]
        return kl_divergence(*built)

    assert torch.autograd.gradcheck(value, leaves, atol=1e-7)
    for kappa in (0.0, 1.0):  # the concentration 1 at equal directions: |kappa loc - s loc'| = 0
        edge = [
            t.detach() if t.ndim else torch.full_like(t, kappa / 2 if name == "rho" else kappa)
            for t, (_, name) in zip(leaves, names, strict=True)
        ]
        edge = [t.requires_grad_() for t in edge]
        grads = torch.autograd.grad(value(*edge), edge, allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in grads)


def test_cauchy_on_the_line():
    p = IsotropicCauchy(torch.tensor([0.5], dtype=torch.float64), 2.0)
    q = IsotropicCauchy(torch.tensor([[-1.0], [0.5]], dtype=torch.float64), 0.7)
    x = torch.tan(torch.linspace(-0.5, 0.5, 2_000_001, dtype=torch.float64)[1:-1] * torch.pi)
    x = (0.5 + 2 * x)[:, None, None]  # of equal probability under p
    want = (p.log_prob(x) - q.log_prob(x)).mean(0)
    assert_close(kl_divergence(p, q), want, rtol=1e-5, atol=1e-6)
    assert kl_divergence(p, p).item() == 0


EVERY = {
    "VonMisesFisher": vmf(3, 1.0),
    "PowerSpherical": power(3, 1.0),
    "SphericalCauchy": cauchy(3, 1.0),
    "MixtureOfVonMisesFisher": MixtureOfVonMisesFisher(
        torch.zeros(2, dtype=torch.float64), direction(2, 3), 2.0
    ),
    "HypersphericalUniform": uniform(3),
    "IsotropicCauchy": IsotropicCauchy(torch.zeros(3, dtype=torch.float64)),
}


def test_the_table_has_every_pair():
    """docs/divergences.md says what is there and what is refused, and why."""
    page = (Path(__file__).parents[2] / "docs" / "divergences.md").read_text()
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    classes = {
        n
        for n in flowkernels.distributions.__all__
        if isinstance(getattr(flowkernels.distributions, n), type)
    }
    assert classes == set(EVERY) == set(head[1:]) == {row[0] for row in rows}
    for first, *cells in rows:
        for second, cell in zip(head[1:], cells, strict=True):
            p, q = EVERY[first], EVERY[second]
            if cell in ("formula", "integral"):
                assert kl_divergence(p, q).shape == ()
                continue
            reason = (
                "no common support"
                if cell == "no common support"
                else "integral (in two dimen|over)"
            )
            with pytest.raises(NotImplementedError, match=f"kl_divergence: .*{reason}"):
                kl_divergence(p, q)
    line = IsotropicCauchy(torch.zeros(1, dtype=torch.float64))
    assert kl_divergence(line, line).item() == 0
    with pytest.raises(ValueError, match="same dimension, got 1 and 3"):
        kl_divergence(line, EVERY["IsotropicCauchy"])

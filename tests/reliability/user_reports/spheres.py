"""Distributions on spheres, and Bessel functions."""

from __future__ import annotations

import math

import pytest
import torch
from mpmath import mp
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher
from tests.reference.high_precision import bessel

from .report import report


def axis(dim: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.eye(dim, dtype=dtype)[0]


def gradients_are_finite(dim: int, kappa: float, dtype: torch.dtype, draws: int) -> None:
    loc = torch.nn.functional.normalize(torch.randn(dim, dtype=dtype), dim=0).requires_grad_()
    concentration = torch.tensor(kappa, dtype=dtype, requires_grad=True)
    x = VonMisesFisher(loc, concentration, validate_args=False).rsample((draws,))
    x.square().cumsum(-1).sum().backward()
    assert x.isfinite().all() and loc.grad.isfinite().all() and concentration.grad.isfinite()


@report(
    "nicola-decao/s-vae-pytorch/pull/8",
    "on the circle, draws at the mean direction make gradients NaN through sqrt(0)",
    "values and gradients of 20,000 draws on the circle are finite",
)
def _() -> None:
    gradients_are_finite(2, 50.0, torch.float32, 20_000)


@report(
    "clementchadebec/benchmark_VAE/pull/79",
    "training an S-VAE ends in NaN: 1 - w^2 of a draw rounds to less than 0",
    "values and gradients are finite at concentrations where cosines round to 1",
)
def _() -> None:
    for kappa in (1e4, 1e7, 1e12):
        gradients_are_finite(16, kappa, torch.float32, 2000)


@report(
    "nicola-decao/s-vae-tf/issues/3",
    "the KL to the uniform distribution becomes NaN while training on MNIST",
    "the KL is finite, not negative and grows, from concentration 1e-6 to 1e30, as its gradient is",
)
def _() -> None:
    for dim in (2, 3, 40, 1000):
        kappa = torch.logspace(-6, 30, 200, requires_grad=True)
        q = VonMisesFisher(axis(dim, torch.float32), kappa)
        kl = kl_divergence(q, HypersphericalUniform(dim))
        kl.sum().backward()
        assert kl.isfinite().all() and (kl >= 0).all() and kl[-1] > kl[0]
        assert kappa.grad.isfinite().all() and (kappa.grad >= 0).all()


@report(
    "nicola-decao/s-vae-tf/issues/2",
    "batch and event shapes are swapped, and a batch of concentrations must be tiled",
    "the last dimension of loc is the event; concentrations broadcast against the batch",
)
def _() -> None:
    one = VonMisesFisher(torch.tensor([0.0, 1.0, 0.0]), 1.0)
    assert one.batch_shape == () and one.event_shape == (3,)
    loc, kappa = torch.eye(3)[:2], torch.tensor([1.0, 2.0])
    two = VonMisesFisher(loc, kappa)
    assert two.batch_shape == (2,) and two.event_shape == (3,)
    x = torch.tensor([0.0, 0.0, 1.0])
    want = torch.stack([VonMisesFisher(loc[i], kappa[i]).log_prob(x) for i in range(2)])
    assert_close(two.log_prob(x), want)
    assert_close(one.log_prob(torch.tensor([1.0, 0, 0])).exp().item(), 0.0677139, atol=1e-7, rtol=0)


@report(
    "nicola-decao/s-vae-pytorch/issues/13",
    "negative scales are accepted and clamped, so the entropy is a constant",
    "a negative or NaN concentration is refused",
)
def _() -> None:
    for distribution in (VonMisesFisher, PowerSpherical):
        for wrong in (-1.0, math.nan):
            with pytest.raises(ValueError, match="concentration"):
                distribution(axis(3), torch.tensor(wrong), validate_args=True)


@report(
    "nicola-decao/s-vae-pytorch/issues/14",
    "some draws lie far from the sphere, a million times as long as others",
    "every draw has length 1 to rounding, from the uniform distribution to a point",
)
def _() -> None:
    for kappa in (0.0, 1e-6, 1.0, 1e3, 1e8, 1e20):
        for distribution in (VonMisesFisher, PowerSpherical):
            x = distribution(axis(5, torch.float32), kappa).sample((5000,))
            assert_close(x.norm(dim=-1), torch.ones(5000), rtol=0, atol=1e-6)


@report(
    "nicola-decao/s-vae-pytorch/issues/2",
    "the rejection loop of the sampler never ends for more than 2 dimensions",
    "the sampler ends in every dimension, with the right mean cosine",
)
def _() -> None:
    for dim in (3, 4, 50):
        d = VonMisesFisher(axis(dim), 20.0)
        cosines = d.sample((20_000,))[:, 0]
        error = 5 * (cosines.std() / math.sqrt(20_000)).item()
        assert_close(cosines.mean(), d.mean[0], rtol=0, atol=error)


@report(
    "pytorch/pytorch/issues/88443",
    "sampling the circle hangs for concentrations below 1e-4 in float32",
    "small concentrations, 0 among them, give nearly uniform draws",
)
def _() -> None:
    for kappa in (1e-4, 1e-8, 1e-30, 0.0):
        x = VonMisesFisher(axis(2, torch.float32), kappa).sample((20_000,))
        assert x.mean(0).norm() < 5 / math.sqrt(20_000)


@report(
    "tensorflow/probability/issues/140",
    "the distribution is accurate in at most 5 dimensions and has no reparametrised draws",
    "log densities agree with 50 digits in up to 4096 dimensions; rsample has gradients",
)
def _() -> None:
    for dim in (2, 6, 100, 4096):
        kappa = torch.tensor(dim / 3, dtype=torch.float64, requires_grad=True)
        d = VonMisesFisher(axis(dim), kappa)
        with mp.workdps(50):
            k, v = mp.mpf(kappa.item()), mp.mpf(dim) / 2 - 1
            want = v * mp.log(k) - mp.mpf(dim) / 2 * mp.log(2 * mp.pi) - bessel(v, k)["log_iv"] + k
        assert_close(d.log_prob(axis(dim)).item(), float(want), rtol=1e-13, atol=0)
        d.rsample((3,))[:, 0].sum().backward()
        assert kappa.grad > 0


@report(
    "tensorflow/probability/issues/1287",
    "draws of a power spherical distribution about (1, 0, 0) are NaN",
    "draws about both ends of every axis are unit vectors about it",
)
def _() -> None:
    for loc in (*torch.eye(3), *-torch.eye(3)):
        x = PowerSpherical(loc, 10_000.0).sample((500,))
        assert_close(x.norm(dim=-1), torch.ones(500))
        assert (x @ loc > 0.99).all()


@report(
    "JuliaStats/Distributions.jl/pull/1918",
    "draws are NaN for a direction within 1e-8 of the first axis",
    "draws about directions at every distance from both ends of the axis are right",
)
def _() -> None:
    for dtype in (torch.float32, torch.float64):
        for apart in (0.0, 1e-300, 1e-16, 1e-8, 1e-4):
            for sign in (1.0, -1.0):
                loc = torch.tensor([sign, apart, 0.0], dtype=torch.float64).to(dtype)
                x = VonMisesFisher(loc, 1000.0).sample((500,))
                assert x.isfinite().all() and (x @ loc > 0.98).all()


@report(
    "geomstats/geomstats/issues/1334",
    "draws on the circle raise an error; they work from the sphere on",
    "the circle, as points of the plane, is a dimension like the others",
)
def _() -> None:
    d = VonMisesFisher(axis(2), 3.0)
    x = d.sample((20_000,))
    assert_close(x.norm(dim=-1), torch.ones(20_000, dtype=torch.float64))
    assert_close(x.mean(0), d.mean, rtol=0, atol=0.03)


@report(
    "jasonlaska/spherecluster/issues/17",
    "identical samples are fitted with a made-up concentration of 1e8",
    "a fit to one repeated point is refused: the likelihood has no maximum",
)
def _() -> None:
    with pytest.raises(ValueError, match="VonMisesFisher"):
        VonMisesFisher.fit(axis(19).expand(20, 19))


@report(
    "jasonlaska/spherecluster/issues/10",
    "the normaliser is infinite for 10 and more features",
    "normalisers and fits are finite in thousands of dimensions",
)
def _() -> None:
    for dim in (10, 1000, 20_000):
        for kappa in (1e-3, 1.0, dim, 1e6):
            assert ops.vmf_log_normalizer(torch.tensor(kappa).double(), dim).isfinite()
    x = VonMisesFisher(axis(1000), 800.0).sample((4000,))
    assert_close(VonMisesFisher.fit(x).concentration.item(), 800.0, rtol=0.05, atol=0)


@report(
    "stan-dev/math/issues/1076",
    "the density overflows for concentrations above about 10",
    "the log density is finite up to the largest numbers",
)
def _() -> None:
    for kappa in (10.0, 1e3, 1e10, 1e37):
        d = VonMisesFisher(axis(2, torch.float32), kappa)
        at, opposite = d.log_prob(d.loc), d.log_prob(-d.loc)
        assert at.isfinite() and opposite.isfinite() and at > opposite


@report(
    "stan-dev/math/issues/639",
    "the Bessel function I takes integer orders only and overflows for large arguments",
    "log_iv takes every order >= 0 and agrees with 50 digits",
)
def _() -> None:
    for order, x in ((0.3, 2.0), (2.5, 1e5), (77.7, 1e-3), (1e4, 3e4)):
        got = ops.log_iv(order, torch.tensor([x], dtype=torch.float64)).item()
        with mp.workdps(50):
            want = float(bessel(order, x)["log_iv"])
        assert_close(got, want, rtol=1e-13, atol=1e-13)


@report(
    "scipy/scipy/issues/25824",
    "I_1(713) is infinite although the value is below the largest number",
    "exp(log_iv) is finite there and right",
)
def _() -> None:
    got = ops.log_iv(1, torch.tensor([713.0], dtype=torch.float64)).exp().item()
    assert_close(got, 6.700424559186402e307, rtol=1e-12, atol=0)


@report(
    "scipy/xsf/pull/251",
    "I of a large order at 0 is NaN, not 0",
    "log_iv is minus infinity there for every positive order (in float32 NaN from 1e20 on: fixed)",
    outcome="fixed",
)
def _() -> None:
    for dtype in (torch.float32, torch.float64):
        zero = torch.zeros(1, dtype=dtype)
        for order in (1.0, 2.0**30, 2.0**52, 1e100, 1e300):
            assert ops.log_iv(order, zero).item() == -math.inf
        assert ops.log_iv(0, zero).item() == 0


@report(
    "scipy/scipy/pull/17485",
    "the entropy on the circle is NaN for concentrations above 800",
    "the entropy approaches that of a normal distribution",
)
def _() -> None:
    for kappa in (800.0, 5e3, 1e6, 1e12):
        got = VonMisesFisher(axis(2), kappa).entropy().item()
        assert_close(got, 0.5 * math.log(2 * math.pi * math.e / kappa), rtol=1e-3, atol=1e-4)


@report(
    "scipy/scipy/issues/6011",
    "the entropy for concentration 2 is an error where 1.2663 is right",
    "the entropy is a formula",
)
def _() -> None:
    got = VonMisesFisher(axis(2), 2.0).entropy().item()
    assert_close(got, 1.2663212919642859, rtol=1e-14, atol=0)


@report(
    "openturns/openturns/pull/3220",
    "with concentration 0 the entropy is NaN",
    "with concentration 0 all moments are those of the uniform distribution",
)
def _() -> None:
    for dim in (2, 3, 30):
        uniform = HypersphericalUniform(dim, dtype=torch.float64)
        for distribution in (VonMisesFisher, PowerSpherical):
            d = distribution(axis(dim), 0.0)
            assert_close(d.entropy(), uniform.entropy(), rtol=1e-14, atol=1e-14)
            assert_close(d.mean, torch.zeros(dim, dtype=torch.float64))
            assert_close(d.log_prob(d.loc), uniform.log_prob(d.loc), rtol=1e-14, atol=1e-14)


@report(
    "JuliaStats/Distributions.jl/issues/580",
    "another package's density is 2 pi times as large; the measure is not stated",
    "densities are with respect to the sphere's surface, stated in the docstring",
)
def _() -> None:
    d = VonMisesFisher(axis(2), 1.0)
    assert_close(d.log_prob(axis(2)).exp().item(), 0.34171048862346315, rtol=1e-14, atol=0)
    assert "surface measure" in (VonMisesFisher.__doc__ or "")


@report(
    "pytorch/pytorch/issues/72765",
    "a KL that is not there raises a NotImplementedError without the two types",
    "the message names both distributions",
)
def _() -> None:
    with pytest.raises(NotImplementedError, match=r"VonMisesFisher.*Normal"):
        kl_divergence(VonMisesFisher(axis(3), 1.0), Normal(0.0, 1.0))


@report(
    "pytorch/pytorch/issues/50404",
    "points outside the support get a log density in spite of validate_args",
    "points off the sphere are refused; validate_args=False accepts them",
)
def _() -> None:
    off = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)
    for distribution in (VonMisesFisher, PowerSpherical):
        with pytest.raises(ValueError, match="value"):
            distribution(axis(3), 1.0, validate_args=True).log_prob(off)
        distribution(axis(3), 1.0, validate_args=False).log_prob(off)


@report(
    "pytorch/pytorch/issues/52724",
    "log_prob computes something for values of a wrong event shape",
    "values of another dimension are refused",
)
def _() -> None:
    for distribution in (VonMisesFisher, PowerSpherical):
        with pytest.raises(ValueError, match=r"shape|size"):
            distribution(axis(3), 1.0, validate_args=True).log_prob(axis(4))


@report(
    "pyro-ppl/pyro/pull/1291",
    "expand returns an object of another class, whose log_prob differs",
    "expand keeps the class, the validation and the values",
)
def _() -> None:
    for distribution in (VonMisesFisher, PowerSpherical):
        d = distribution(axis(3), 2.0, validate_args=False)
        wide = d.expand((4, 2))
        assert type(wide) is distribution and wide.batch_shape == (4, 2)
        assert wide._validate_args is False
        x = d.sample((4, 2))
        assert_close(wide.log_prob(x), d.log_prob(x))


@report(
    "pytorch/pytorch/pull/151317",
    "log_prob of a mixture with batches checks values against the wrong shape",
    "mixtures of spherical distributions with batches have log densities that add up",
)
def _() -> None:
    loc = torch.nn.functional.normalize(torch.randn(10, 5, 3, dtype=torch.float64), dim=-1)
    kappa, weights = torch.rand(10, 5).double() * 9, torch.rand(10, 5).double()
    for distribution in (VonMisesFisher, PowerSpherical):
        part = distribution(loc, kappa, validate_args=True)
        mixture = MixtureSameFamily(Categorical(probs=weights), part, validate_args=True)
        x = mixture.sample((4,))
        share = weights / weights.sum(-1, keepdim=True)
        want = (share * part.log_prob(x[:, :, None]).exp()).sum(-1).log()
        assert_close(mixture.log_prob(x), want)

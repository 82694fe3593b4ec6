"""Every distribution: shapes, dtypes, errors, moments and entropy."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch.distributions import kl_divergence
from torch.testing import assert_close

from flowkernels.distributions import (
    HypersphericalUniform,
    IsotropicCauchy,
    PowerSpherical,
    SphericalCauchy,
    VonMisesFisher,
)

from .cases import (
    direction,
    each_axial,
    each_class,
    each_distribution,
    parameter,
    quadrature,
    within,
)

BATCHES = [(), (3,), (2, 3), (0,), (2, 0)]


@each_distribution
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_shapes(make, batch):
    d = make(4, batch)
    assert d.batch_shape == batch
    assert d.event_shape == (4,)
    for sample_shape in ((), (5,), (2, 5), (0,)):
        x = d.rsample(sample_shape)
        assert x.shape == (*sample_shape, *batch, 4)
        assert d.log_prob(x).shape == (*sample_shape, *batch)
    for each in (d.mean, d.mode, d.variance, d.stddev):
        assert each.shape == (*batch, 4)
    assert d.entropy().shape == batch
    assert kl_divergence(d, HypersphericalUniform(4, batch, dtype=torch.float64)).shape == batch


@each_axial
def test_parameters_broadcast(make):
    cls = type(make(3))
    d = cls(direction(3, 1, 5), torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert d.batch_shape == (3, 2)
    assert d.loc.shape == (3, 2, 5)
    assert parameter(d).shape == (3, 2)
    assert d.rsample((7,)).shape == (7, 3, 2, 5)
    # a value with fewer dimensions than the batch
    assert d.log_prob(direction(5)).shape == (3, 2)
    number = cls(direction(5), 0.5)
    assert_close(number.log_prob(number.mode), d.log_prob(d.mode)[0, 1])


@each_distribution
def test_expand(make):
    d = make(4, (3,), validate_args=False)
    e = d.expand((2, 3))
    assert type(e) is type(d)
    assert e.batch_shape == (2, 3)
    assert e._validate_args is False
    x = d.sample((6, 2))
    assert_close(e.log_prob(x), d.log_prob(x))
    assert_close(e.entropy(), d.entropy().expand(2, 3))
    assert_close(e.variance, d.variance.expand(2, 3, 4))
    assert e.rsample((5,)).shape == (5, 2, 3, 4)
    assert make(4).expand((0,)).sample().shape == (0, 4)
    with pytest.raises((ValueError, RuntimeError)):
        d.expand((4,))


@each_distribution
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(make, dtype):
    d, wide = make(4, (2,), dtype=dtype), torch.promote_types(dtype, torch.float32)
    x = d.rsample((50,))
    assert x.dtype == dtype
    assert (x.double().norm(dim=-1) - 1).abs().max() <= 4 * torch.finfo(dtype).eps
    uniform = HypersphericalUniform(4, dtype=dtype)
    for each in (d.log_prob(x), d.entropy(), kl_divergence(d, uniform)):
        assert each.dtype == wide
        assert each.isfinite().all()
    exact = make(4, (2,))
    assert_close(d.entropy().double(), exact.entropy(), rtol=8 * torch.finfo(dtype).eps, atol=1e-5)


@each_distribution
def test_pickle_and_deepcopy(make):
    d = make(4, (3,))
    x = d.sample((2,))
    for twin in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert_close(twin.log_prob(x), d.log_prob(x), rtol=0, atol=0)
        assert twin.batch_shape == d.batch_shape
        assert twin.sample().shape == (3, 4)


@each_class
def test_errors_name_the_argument(cls):
    loc = direction(3)
    name = cls.__name__
    with pytest.raises(TypeError, match=f"{name}: loc must be .* got list"):
        cls([0.0, 1.0], 1.0)
    with pytest.raises(TypeError, match=f"{name}: loc must be .* got torch.int64"):
        cls(torch.tensor([0, 1]), 1.0)
    with pytest.raises(ValueError, match=rf"{name}: loc must be .*p >= 2.*\(1,\)"):
        cls(torch.ones(1), 1.0)
    with pytest.raises(ValueError, match=rf"{name}: concentration must broadcast .*\(2,\).*\(3,\)"):
        cls(direction(2, 3), torch.ones(3))
    with pytest.raises(ValueError, match="parameter concentration"):
        cls(loc, -1.0, validate_args=True)
    with pytest.raises(ValueError, match="parameter loc"):
        cls(1.1 * loc, 1.0, validate_args=True)
    d = cls(loc, 1.0, validate_args=True)
    with pytest.raises(ValueError, match="support"):
        d.log_prob(1.1 * loc)
    with pytest.raises(ValueError, match=rf"{name}: value must have shape \(\*, 3\), got \(4,\)"):
        d.log_prob(direction(4))
    assert cls(1.1 * loc, 1.0, validate_args=False).log_prob(loc).isfinite()


def test_errors_of_the_uniform():
    for dim in (1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="HypersphericalUniform: dim must be an integer >= 2"):
            HypersphericalUniform(dim)
    with pytest.raises(ValueError, match=r"batch_shape must be .*\(3,\).*\(2,\)"):
        HypersphericalUniform(4, (3,)).expand((2,))
    with pytest.raises(ValueError, match="support"):
        HypersphericalUniform(3, validate_args=True).log_prob(torch.ones(3))


@each_class
def test_errors_of_fit(cls):
    x = direction(6, 3)
    with pytest.raises(TypeError, match=f"{cls.__name__}.fit: samples .* got list"):
        cls.fit([[0.0, 1.0]])
    for bad in (x[0], x[:0]):
        with pytest.raises(ValueError, match=r"samples must be \(n, \*batch, p\)"):
            cls.fit(bad)
    with pytest.raises(ValueError, match="samples must be unit vectors"):
        cls.fit(2 * x)
    with pytest.raises(ValueError, match=r"weights must be \(n,\) .*\(5,\)"):
        cls.fit(x, torch.ones(5))
    with pytest.raises(ValueError, match="weights must be >= 0"):
        cls.fit(x, torch.tensor([-1.0, 1, 1, 1, 1, 1]))
    with pytest.raises(TypeError, match="weights must be a tensor"):
        cls.fit(x, 1.0)
    with pytest.raises(ValueError, match="must not all be one point"):
        cls.fit(x[:1].expand(5, 3).contiguous())


@each_distribution
@pytest.mark.parametrize("kappa", [0.0, 0.3, 5.0, 80.0])
@pytest.mark.parametrize("dim", [2, 3])
def test_moments_and_entropy_by_quadrature(make, dim, kappa):
    d = make(dim, kappa=kappa)
    x, weight = quadrature(direction(dim) if isinstance(d, HypersphericalUniform) else d.loc)
    log_p = d.log_prob(x)
    mass = weight * log_p.exp()
    close = {"rtol": 1e-11, "atol": 1e-11}
    assert_close(mass.sum(), torch.ones((), dtype=torch.float64), **close)
    mean = (mass[:, None] * x).sum(0)
    assert_close(d.mean, mean, **close)
    assert_close(d.variance, (mass[:, None] * (x - mean).square()).sum(0), **close)
    assert_close(d.entropy(), -(mass * log_p.clamp_min(-1e5)).sum(), **close)


@each_distribution
@pytest.mark.parametrize(("dim", "kappa"), [(12, 0.5), (12, 20.0), (300, 200.0)])
def test_draws_have_the_moments_and_the_entropy(make, dim, kappa):
    d = make(dim, kappa=kappa)
    x = d.sample((4000,))
    assert within(x, d.mean)
    assert within((x - d.mean).square(), d.variance)
    if d.log_prob(x).std() > 1e-9:
        assert within(-d.log_prob(x), d.entropy())
    else:
        assert_close(-d.log_prob(x).mean(), d.entropy())


@each_class
@pytest.mark.parametrize("dim", [2, 3, 50])
def test_concentration_zero_is_the_uniform(cls, dim):
    uniform, d = HypersphericalUniform(dim, dtype=torch.float64), cls(direction(dim), 0.0)
    x = torch.cat([uniform.sample((20,)), d.loc[None], -d.loc[None]])
    assert_close(d.log_prob(x), uniform.log_prob(x), rtol=1e-14, atol=1e-14)
    assert_close(d.entropy(), uniform.entropy(), rtol=1e-14, atol=1e-14)
    assert_close(d.variance, uniform.variance)
    assert not d.mean.any()
    assert kl_divergence(d, uniform).item() == 0
    y = d.sample((4000,))
    assert within(y, 0.0)
    assert within(y.square(), 1 / dim)


@each_axial
def test_log_prob_in_float32_at_large_concentrations(make):
    """Near the mode the error is that of an ulp in the coordinates."""
    for dim in (3, 64, 785):
        exact = make(dim, kappa=1e6)
        d = make(dim, kappa=1e6, dtype=torch.float32)
        x = d.sample((200,))
        offset = exact.log_prob(x.double())
        # compare at the float32 loc, which is not exactly the float64 one
        same = type(exact)(d.loc.double(), parameter(d).double(), validate_args=False)
        error = (d.log_prob(x).double() - same.log_prob(x.double())).abs().max()
        assert error <= 4e-6 * (offset.abs().max() + dim * math.log(1e6))


@each_axial
def test_log_prob_near_the_antimode(make):
    """1 + cosine cancels there; |x + loc|^2 / 4 does not."""
    d = make(3, kappa=2.0)
    angle = torch.tensor([1e-3, 1e-6, 1e-9], dtype=torch.float64)
    across = torch.linalg.cross(d.loc, direction(3, seed=9))
    across = across / across.norm()
    x = -d.loc * angle.cos()[:, None] + across * angle.sin()[:, None]
    if isinstance(d, PowerSpherical):
        want = d.log_prob(d.loc) + 2 * 2.0 * (angle / 2).sin().log()
    elif isinstance(d, SphericalCauchy):
        want = 2 * (1 - d.rho**2).log() - 2 * (1 + d.rho**2 + 2 * d.rho * angle.cos()).log()
        want = want - math.log(4 * math.pi)
    else:
        want = d.log_prob(d.loc) - 2.0 * (1 + angle.cos())
    assert_close(d.log_prob(x), want, rtol=1e-6, atol=1e-12)


def test_instances_of_torch_distributions():
    for cls in (VonMisesFisher, PowerSpherical, SphericalCauchy, HypersphericalUniform):
        assert issubclass(cls, torch.distributions.Distribution)
        assert cls.has_rsample
    d = torch.distributions.Independent(VonMisesFisher(direction(4, 3), 2.0), 1)
    assert d.log_prob(d.sample((6,))).shape == (6,)
    uniform = torch.distributions.Independent(
        HypersphericalUniform(3, (4,), dtype=torch.float64), 1
    )
    assert kl_divergence(d, uniform).shape == ()


def test_an_empty_batch_of_cauchys() -> None:
    law = IsotropicCauchy(torch.zeros(0, 3), validate_args=True)
    assert law.rsample((2,)).shape == (2, 0, 3)
    assert law.log_prob(torch.zeros(0, 3)).shape == (0,)
    with pytest.raises(ValueError, match="loc"):
        IsotropicCauchy(torch.tensor([0.0, math.nan]), validate_args=True)

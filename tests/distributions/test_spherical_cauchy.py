"""The spherical Cauchy: its moments in high precision, its sampler, and its fit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from mpmath import mp, mpf
from scipy import stats
from torch import Tensor
from torch.distributions import kl_divergence
from torch.testing import assert_close

from flowkernels.distributions import HypersphericalUniform, SphericalCauchy

from .cases import direction, within

LEAST = 5.7e-7  # the probability of five standard errors
RHOS = [1e-8, 0.3, 0.99, 1 - 2.0**-40]


def moments(dim: int, rho: float) -> tuple[mpf, mpf, mpf, mpf]:
    """A, 1 - A, Var[loc.x] and KL to the uniform: sums over tan(angle / 2) = e^y, fine and long."""
    n, slope = dim - 1, (1 - mpf(rho)) / (1 + mpf(rho))
    reach, step = (12 / n**0.5, 0.4 / n**0.5) if n > 30 else (90.0, 1 / 16)
    count = round(reach / step)
    nodes = [mpf(step) * (i + mpf(1) / 3) for i in range(-count, count)]
    weights = [mp.sech(y) ** n for y in nodes]
    gaps = [2 / (1 + mp.exp(-2 * y) / slope**2) for y in nodes]  # 1 - cosine of the image
    sigma = 2 * mpf(rho) / (1 - mpf(rho) ** 2)

    def mean(values):
        return mp.fdot(weights, values) / mp.fsum(weights)

    complement = mean(gaps)
    variance = mean([(gap - complement) ** 2 for gap in gaps])
    divergence = n / mpf(2) * mean([mp.log1p((sigma * mp.sech(y)) ** 2) for y in nodes])
    return 1 - complement, complement, variance, divergence


@pytest.mark.parametrize("dim", [2, 3, 6, 64, 3000])
def test_moments_and_divergence_in_40_digits(dim: int) -> None:
    rho = torch.tensor(RHOS, dtype=torch.float64)
    d = SphericalCauchy(direction(dim), rho)
    got = [*d._moments(), d._divergence_from_uniform()]
    with mp.workdps(40):
        for i, each in enumerate(RHOS):
            for value, want in zip(got, moments(dim, each), strict=True):
                assert abs(value[i].item() / want - 1) <= 4e-15


def test_closed_forms() -> None:
    """A on the circle and in R^3, and the divergence where it is elementary."""
    rho = torch.tensor([0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
    circle = SphericalCauchy(direction(2), rho)
    assert_close(circle._cosine_mean(), rho, rtol=1e-14, atol=0)
    assert_close(circle._divergence_from_uniform(), -(1 - rho**2).log(), rtol=1e-13, atol=0)
    mean = (1 - (1 - rho**2) * rho.atanh() / rho) * (1 - rho**2) / (2 * rho) + rho
    assert_close(SphericalCauchy(direction(3), rho)._cosine_mean(), mean, rtol=1e-13, atol=0)
    four = SphericalCauchy(direction(4), rho)
    assert_close(four._cosine_mean(), rho * (3 - rho**2) / 2, rtol=1e-14, atol=0)
    assert_close(
        four._divergence_from_uniform(), 3 * (rho**2 / 2 - (1 - rho**2).log()), rtol=1e-13, atol=0
    )


def test_the_circle_is_scipys_wrapped_cauchy() -> None:
    angle = torch.linspace(0, 6.28, 50, dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    d = SphericalCauchy(torch.tensor([1.0, 0.0], dtype=torch.float64), 0.7)
    want = stats.wrapcauchy(0.7).logpdf(angle.numpy())
    assert_close(d.log_prob(x), torch.from_numpy(want))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.95, 1 - 2.0**-20])
@pytest.mark.parametrize("dim", [2, 3, 64, 785])
def test_draws_follow_the_distribution(dim: int, rho: float, dtype: torch.dtype) -> None:
    """The squared tangent of the half angle is slope^2 y / x: an F distribution."""
    n, loc = 4000, direction(dim, seed=1, dtype=dtype)
    exact = loc.double() / loc.double().norm()
    r = torch.full((n,), rho, dtype=dtype, requires_grad=True)
    x = SphericalCauchy(loc, r).rsample()
    (slope,) = torch.autograd.grad((x @ loc).sum(), r)
    x = x.detach().double()
    assert (x.norm(dim=-1) - 1).abs().max() <= 8 * torch.finfo(dtype).eps
    square = (x - exact).square().sum(-1) / (x + exact).square().sum(-1)
    law = stats.f(dim - 1, dim - 1, scale=((1 - rho) / (1 + rho)) ** 2)
    assert stats.kstest(square.numpy(), law.cdf).pvalue > LEAST
    across = direction(dim, seed=3)
    across = across - (across @ exact) * exact
    assert within(x @ across, 0.0)
    if dim <= 3 and rho > 0.95:  # most of the mean slope comes from draws that are too rare
        return
    # pathwise: the mean slope of the cosine is the slope of the mean
    leaf = torch.tensor(rho, dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad(SphericalCauchy(exact, leaf)._cosine_mean(), leaf)
    assert within(slope.double(), want)


@pytest.mark.parametrize(("dim", "rho"), [(2, 0.5), (3, 0.8), (20, 0.9)])
def test_gradients_of_draws(dim: int, rho: float) -> None:
    """E[a.x] = A(rho) a.loc, and its gradient in the direction."""
    n, loc, a = 4000, direction(dim), direction(dim, seed=4)
    many = loc.expand(n, dim).clone().requires_grad_()
    x = SphericalCauchy(many, rho).rsample()
    (grad,) = torch.autograd.grad((x @ a).sum(), many)
    across = grad - (grad @ loc)[:, None] * loc
    assert within(across, SphericalCauchy(loc, rho).mean.norm() * (a - (a @ loc) * loc))


@pytest.mark.parametrize("dim", [2, 5])
def test_first_and_second_derivatives(dim: int) -> None:
    rho = torch.tensor([0.05, 0.6, 0.95], dtype=torch.float64, requires_grad=True)
    x, loc = direction(3, dim), direction(3, dim, seed=2).requires_grad_()

    def values(loc: Tensor, rho: Tensor) -> Tensor:
        d = SphericalCauchy(loc / loc.norm(dim=-1, keepdim=True), rho, validate_args=False)
        return d.log_prob(x) + d.entropy() + d.variance.sum(-1) + d.mean.sum(-1)

    assert torch.autograd.gradcheck(values, (loc, rho), rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(values, (loc, rho), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rho", [0.0, 1e-12, 1 - 2.0**-52])
def test_finite_at_the_ends(rho: float) -> None:
    loc = direction(2, 6).requires_grad_()
    r = torch.full((2,), rho, dtype=torch.float64, requires_grad=True)
    d = SphericalCauchy(loc, r)
    for value in (d.log_prob(d.mode.detach()), d.entropy(), d.variance.sum(-1), d.mean.sum(-1)):
        assert value.isfinite().all()
        for grad in torch.autograd.grad(value.sum(), (r, loc), allow_unused=True):
            assert grad is None or grad.isfinite().all()


def test_rho_zero_is_the_uniform() -> None:
    uniform, d = HypersphericalUniform(5, dtype=torch.float64), SphericalCauchy(direction(5), 0)
    x = uniform.sample((20,))
    assert_close(d.log_prob(x), uniform.log_prob(x), rtol=1e-15, atol=0)
    assert_close(d.variance, uniform.variance)
    assert kl_divergence(d, uniform).item() == 0 == kl_divergence(uniform, d).item()


def test_divergences_of_close_distributions() -> None:
    """Symmetric, 0 between equals, and without cancellation: the leading order for small steps."""
    p = SphericalCauchy(direction(4), 0.9)
    assert kl_divergence(p, p).item() == 0
    q = SphericalCauchy(direction(4, seed=5), 0.2)
    assert_close(kl_divergence(p, q), kl_divergence(q, p), rtol=1e-15, atol=0)
    near = SphericalCauchy(p.loc, p.rho + 1e-9)
    step = (near.rho - p.rho).item()
    # sigma = 2 step / (1 - rho^2), E[s^2] = (p - 1) / p
    want = 3 / 2 * (2 * step / (1 - 0.9**2)) ** 2 * 3 / 4
    assert_close(kl_divergence(p, near).item(), want, rtol=1e-6, atol=0)


def test_errors() -> None:
    loc = direction(3)
    for rho in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="parameter rho"):
            SphericalCauchy(loc, rho, validate_args=True)
    with pytest.raises(ValueError, match=r"SphericalCauchy: rho must broadcast .*\(2,\).*\(3,\)"):
        SphericalCauchy(direction(2, 3), torch.ones(3) / 2)
    with pytest.raises(TypeError, match=r"SphericalCauchy: loc must be .* got list"):
        SphericalCauchy([0.0, 1.0], 0.5)
    with pytest.raises(ValueError, match="SphericalCauchy: value must have shape"):
        SphericalCauchy(loc, 0.5).log_prob(direction(4))
    for law in (SphericalCauchy(loc, 0.5), HypersphericalUniform(3, dtype=torch.float64)):
        with pytest.raises(ValueError, match="same sphere"):
            kl_divergence(SphericalCauchy(direction(4), 0.5), law)


class TestFit:
    """Maximum likelihood."""

    @pytest.mark.parametrize(
        ("dim", "rho"), [(2, 0.3), (2, 0.99), (3, 0.8), (20, 0.5), (785, 0.9), (4, 1 - 1e-6)]
    )
    def test_recovers(self, dim: int, rho: float) -> None:
        n, truth = 2000, SphericalCauchy(direction(dim), rho)
        fitted = SphericalCauchy.fit(truth.sample((n,)))
        # The divergence of near parameters is half the squared error in units of the information,
        # a chi^2 with p degrees of freedom over 2 n: its mean and five standard errors.
        loss = 2 * n * kl_divergence(fitted, truth).item()
        assert loss <= dim + 5 * math.sqrt(2 * dim) + 12

    @pytest.mark.parametrize("dim", [2, 3, 30])
    def test_gradient_of_the_likelihood_is_zero(self, dim: int) -> None:
        x = SphericalCauchy(direction(dim), 0.7).sample((200,))
        weights = torch.rand(200, dtype=torch.float64)
        fitted = SphericalCauchy.fit(x, weights)
        loc, rho = (t.clone().requires_grad_() for t in (fitted.loc, fitted.rho))
        log_prob = SphericalCauchy(loc / loc.norm(), rho, validate_args=False).log_prob(x)
        grads = torch.autograd.grad((weights * log_prob).sum() / weights.sum(), (loc, rho))
        assert grads[1].abs() < 1e-10
        assert (grads[0] - (grads[0] @ loc) * loc).norm() < 1e-10

    def test_likelihood_never_falls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from flowkernels.distributions import spherical_cauchy_fit as module

        # far from the model: two opposite groups, one heavier, along an ellipse
        x = torch.cat([direction(60, 3), -0.2 * direction(40, 3, seed=2)])
        x = x * torch.tensor([1.0, 0.1, 3.0], dtype=torch.float64) + torch.tensor([1.0, 0, 0])
        x = x / x.norm(dim=-1, keepdim=True)
        reached = []
        for rounds in range(1, 12):
            monkeypatch.setattr(module, "_ROUNDS", rounds)
            reached.append(SphericalCauchy.fit(x).log_prob(x).sum().item())
        assert all(b >= a - 1e-12 * abs(a) for a, b in itertools.pairwise(reached))
        assert reached[-1] > reached[0] + 1

    def test_weights_are_multiplicities_and_batches_are_independent(self) -> None:
        x = SphericalCauchy(direction(4), 0.5).sample((60, 2))
        times = torch.arange(60) % 3
        one, many = (
            SphericalCauchy.fit(x, times),
            SphericalCauchy.fit(x.repeat_interleave(times, 0)),
        )
        assert one.batch_shape == (2,)
        assert_close(one.rho, many.rho)
        assert_close(one.loc, many.loc)
        for k in range(2):
            alone = SphericalCauchy.fit(x[:, k], times)
            assert_close(one.rho[k], alone.rho)
            assert_close(one.loc[k], alone.loc)

    def test_float32_samples_close_together(self) -> None:
        x = SphericalCauchy(direction(3), 1 - 1e-5).sample((2000,))
        wide, narrow = SphericalCauchy.fit(x), SphericalCauchy.fit(x.float())
        assert narrow.rho.dtype == torch.float32
        assert abs((1 - narrow.rho.item()) / (1 - wide.rho.item()) - 1) < 0.02
        # not above the largest number below 1 of the dtype
        assert SphericalCauchy.fit(x.bfloat16()).rho.item() == 1 - 2.0**-8

    def test_balanced_samples_are_uniform(self) -> None:
        fitted = SphericalCauchy.fit(torch.cat([torch.eye(3), -torch.eye(3)]).double())
        assert fitted.rho.item() < 1e-12
        assert fitted.loc.norm().item() == pytest.approx(1)

    def test_refuses_what_has_no_maximum(self) -> None:
        x = direction(6, 3)
        with pytest.raises(ValueError, match="must not all be one point"):
            SphericalCauchy.fit(x[:1].expand(5, 3).contiguous())
        half = torch.cat([x[:1].expand(6, 3), x])
        with pytest.raises(ValueError, match="less than half of their weight at any one point"):
            SphericalCauchy.fit(half)
        with pytest.raises(ValueError, match="samples must be unit vectors"):
            SphericalCauchy.fit(2 * x)
        weights = torch.tensor([1.0, 0.1, 0.1, 0.1, 0.1, 0.1])
        with pytest.raises(ValueError, match="less than half"):
            SphericalCauchy.fit(x, weights)

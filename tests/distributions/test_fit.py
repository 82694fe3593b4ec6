"""Maximum likelihood: recovery of parameters, weights, stationarity."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowkernels.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher

from .cases import direction, each_class


@each_class
@pytest.mark.parametrize(
    ("dim", "kappa"), [(2, 1.0), (3, 0.5), (3, 40.0), (20, 15.0), (200, 300.0), (785, 785.0)]
)
def test_recovers(cls, dim, kappa):
    n = 3000
    truth = cls(direction(dim), kappa)
    fitted = cls.fit(truth.sample((n,)))
    # five standard errors by the Fisher information: KL'' = A' for the vMF
    k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(cls(direction(dim), k).entropy(), k, create_graph=True)
    if cls is VonMisesFisher:
        information = -first.detach() / kappa
    else:
        from flowkernels.distributions.gamma_ratio import trigamma_gap

        half = (dim - 1) / 2
        information = trigamma_gap(k.detach() + half, half)
    assert (fitted.concentration - kappa).abs() <= 5 / (n * information).sqrt()
    spread = (1 - (fitted.loc @ truth.loc)) * 2  # squared distance: dim - 1 directions
    across = truth.variance.sum() / truth.mean.norm().square() / n
    assert spread <= 4 * across + 25 * across / dim**0.5


@each_class
@pytest.mark.parametrize("dim", [2, 3, 30])
def test_gradient_of_the_likelihood_is_zero(cls, dim):
    x = cls(direction(dim), 4.0).sample((200,))
    weights = torch.rand(200, dtype=torch.float64)
    fitted = cls.fit(x, weights)
    loc, k = fitted.loc.clone().requires_grad_(), fitted.concentration.clone().requires_grad_()
    log_prob = cls(loc / loc.norm(), k, validate_args=False).log_prob(x)
    grad_loc, grad_k = torch.autograd.grad((weights * log_prob).sum() / weights.sum(), (loc, k))
    assert grad_k.abs() < 1e-10
    assert (grad_loc - (grad_loc @ loc) * loc).norm() < 1e-9


@each_class
def test_weights_are_multiplicities_and_batches_are_independent(cls):
    x = cls(direction(4), 3.0).sample((60, 2))
    times = torch.arange(60) % 3
    one = cls.fit(x, times)
    many = cls.fit(x.repeat_interleave(times, 0))
    assert one.batch_shape == (2,)
    assert_close(one.concentration, many.concentration)
    assert_close(one.loc, many.loc)
    for k in range(2):
        alone = cls.fit(x[:, k], times)
        assert_close(one.concentration[k], alone.concentration)
        assert_close(one.loc[k], alone.loc)
    each = cls.fit(x, torch.stack([times, times.flip(0)], -1))
    assert_close(each.concentration[0], one.concentration[0])


@each_class
@pytest.mark.parametrize("kappa", [1e4, 1e6])
def test_float32_samples_close_together(cls, kappa):
    """Computed from 1 - r: at 1e6, r rounds to 1."""
    x = cls(direction(3), kappa).sample((2000,))
    wide, narrow = cls.fit(x), cls.fit(x.float())
    assert narrow.concentration.dtype == torch.float32
    assert abs(narrow.concentration.item() / wide.concentration.item() - 1) < 1e-3
    assert abs(wide.concentration.item() / kappa - 1) < 0.15


@each_class
def test_balanced_samples_are_uniform(cls):
    x = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    fitted = cls.fit(x)
    assert fitted.concentration.item() < 1e-6
    assert fitted.loc.norm().item() == pytest.approx(1)
    many = cls.fit(HypersphericalUniform(5, dtype=torch.float64).sample((5000,)))
    assert many.concentration < 0.3


def test_the_best_direction_of_the_power_spherical_is_not_the_mean():
    x = PowerSpherical(direction(3), 0.8).sample((50,))
    fitted, mean = PowerSpherical.fit(x), x.mean(0)
    other = PowerSpherical(mean / mean.norm(), fitted.concentration)
    assert fitted.log_prob(x).sum() > other.log_prob(x).sum() + 1e-3

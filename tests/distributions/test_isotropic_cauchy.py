"""The isotropic Cauchy distribution."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from flowkernels.distributions import IsotropicCauchy


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_density_matches_scipy(dim):
    loc, scale = torch.randn(dim, dtype=torch.float64), 1.7
    x = 5 * torch.randn(50, dim, dtype=torch.float64)
    exact = stats.multivariate_t(loc.numpy(), scale**2 * torch.eye(dim).numpy(), df=1)
    assert_close(IsotropicCauchy(loc, scale).log_prob(x), torch.as_tensor(exact.logpdf(x.numpy())))
    entropy = exact.entropy() if dim < 5 else None
    if entropy is not None:
        assert abs(IsotropicCauchy(loc, scale).entropy().item() - float(entropy)) < 1e-6


def test_entropy_is_the_mean_surprise():
    law = IsotropicCauchy(torch.zeros(30, dtype=torch.float64), 0.3)
    surprise = -law.log_prob(law.sample((20_000,)))
    assert abs(surprise.mean() - law.entropy()) < 5 * surprise.std() / math.sqrt(20_000)


def test_one_dimension_matches_torch():
    x = torch.tensor([[-3.0], [0.0], [1e-5], [40.0]], dtype=torch.float64)
    law = IsotropicCauchy(torch.tensor([0.5], dtype=torch.float64), 2.0)
    assert_close(law.log_prob(x), torch.distributions.Cauchy(0.5, 2.0).log_prob(x[:, 0]))


def test_accuracy_at_extreme_points():
    d = 3072
    law = IsotropicCauchy(torch.zeros(d))
    x = torch.cat([torch.randn(3, d), 1e-20 * torch.randn(1, d), 1e30 * torch.randn(2, d)])
    x = torch.cat([x, torch.zeros(1, d)]).requires_grad_()
    log_prob = law.log_prob(x)
    log_prob.sum().backward()
    exact = IsotropicCauchy(torch.zeros(d, dtype=torch.float64)).log_prob(x.detach().double())
    assert_close(log_prob.detach().double(), exact, rtol=1e-6, atol=0)
    assert x.grad.isfinite().all()
    # (1 + d) x / |x|^2 far out
    far = x.detach()[4].double()
    assert_close(x.grad[4].double(), -(1 + d) * far / far.square().sum(), rtol=1e-4, atol=0)


def test_shapes_gradients_and_expansion():
    loc = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    law = IsotropicCauchy(loc, scale)
    assert law.batch_shape == (2, 3)
    assert law.event_shape == (3,)
    x = law.rsample((4,))
    assert x.shape == (4, 2, 3, 3)
    assert law.log_prob(x).shape == (4, 2, 3)
    assert torch.autograd.grad(x.clamp(-10, 10).sum(), [loc, scale])[0].isfinite().all()
    wide = law.expand((5, 2, 3))
    assert wide.sample().shape == (5, 2, 3, 3)
    assert wide.entropy().shape == (5, 2, 3)
    assert_close(wide.log_prob(x[0]), law.log_prob(x[0]).expand(5, 2, 3))
    assert law.mean.isnan().all()
    assert law.variance.isinf().all()
    assert torch.equal(law.mode, law.loc)
    value = x.detach()[0].clamp(-5, 5).requires_grad_()

    def log_prob(*arguments):
        value, loc, scale = arguments
        return IsotropicCauchy(loc, scale).log_prob(value)

    assert torch.autograd.gradcheck(log_prob, (value, loc, scale))


def test_half_precision_computes_in_float32():
    law = IsotropicCauchy(torch.zeros(50, dtype=torch.bfloat16))
    assert law.sample((3,)).dtype == torch.bfloat16
    assert law.log_prob(law.sample((3,))).dtype == torch.float32


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: IsotropicCauchy(torch.zeros(2, dtype=torch.int64)), TypeError, "got torch.int64"),
        (lambda: IsotropicCauchy([0.0]), TypeError, "floating-point tensor, got list"),
        (lambda: IsotropicCauchy(torch.tensor(0.0)), ValueError, r"\(\*batch, p\) with p >= 1"),
        (
            lambda: IsotropicCauchy(torch.zeros(2, 3), torch.ones(4)),
            ValueError,
            r"batch of loc, \(2,\), got shape \(4,\)",
        ),
        (lambda: IsotropicCauchy(torch.zeros(3), -1.0, validate_args=True), ValueError, "scale"),
    ],
)
def test_rejects_bad_input(act, error, message):
    with pytest.raises(error, match=message):
        act()

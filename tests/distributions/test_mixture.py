"""The mixture: against torch's own, its draws, gradients, shapes and errors."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily
from torch.testing import assert_close

from flowkernels.distributions import MixtureOfVonMisesFisher, VonMisesFisher

from .cases import direction, quadrature, within


def mixture(
    dim: int = 4, k: int = 3, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64
) -> MixtureOfVonMisesFisher:
    logits = direction(*batch, k, seed=1, dtype=dtype)
    kappa = 2 + 5 * direction(*batch, k, seed=2).abs()
    return MixtureOfVonMisesFisher(logits, direction(*batch, k, dim, dtype=dtype), kappa.to(dtype))


def torchs(d: MixtureOfVonMisesFisher) -> MixtureSameFamily:
    # not validated: torch's own checks refuse empty batches
    each = VonMisesFisher(d.loc, d.concentration, validate_args=False)
    weights = Categorical(logits=d.logits, validate_args=False)
    return MixtureSameFamily(weights, each, validate_args=False)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("k", [1, 3])
def test_as_torchs_mixture(batch: tuple[int, ...], k: int) -> None:
    d = mixture(5, k, batch)
    want = torchs(d)
    assert d.batch_shape == batch
    assert d.event_shape == (5,)
    for shape in ((), (7,), (2, 3), (0,)):
        x = d.rsample(shape)
        assert x.shape == d.sample(shape).shape == (*shape, *batch, 5)
        assert_close(d.log_prob(x), want.log_prob(x))
        log_r = d.log_responsibilities(x)
        assert log_r.shape == (*shape, *batch, k)
        assert_close(log_r.exp().sum(-1), torch.ones_like(log_r[..., 0]))
    assert_close(d.mean, want.mean)
    assert_close(d.variance, want.variance)


def test_responsibilities_are_bayes_rule() -> None:
    d = mixture()
    x = direction(9, 4, seed=5)
    each = d.component_distribution.log_prob(x[:, None]) + d.logits
    assert_close(d.posterior(x).probs, each.softmax(-1))
    assert_close(d.log_responsibilities(x), each.log_softmax(-1))


@pytest.mark.parametrize("dim", [2, 3])
def test_density_integrates_to_one(dim: int) -> None:
    d = mixture(dim)
    x, weight = quadrature(d.loc[0])
    mass = weight * d.log_prob(x).exp()
    assert_close(mass.sum(), torch.ones((), dtype=torch.float64), rtol=1e-10, atol=0)
    mean = (mass[:, None] * x).sum(0)
    assert_close(d.mean, mean, rtol=1e-9, atol=1e-10)
    assert_close(d.variance, (mass[:, None] * (x - mean).square()).sum(0), rtol=1e-9, atol=1e-10)


def test_draws_follow_the_distribution() -> None:
    d = mixture(6, 3, (2,))
    x = d.sample((20_000,))
    assert within(x, d.mean)
    assert within((x - d.mean).square(), d.variance)
    # the mean of the responsibilities is the weight
    assert within(d.log_responsibilities(x).exp(), d.mixture_distribution.probs)


def test_gradients_of_draws_are_unbiased() -> None:
    """E[a.x] = sum_k w_k A(kappa_k) a.loc_k, and its gradients in loc and concentration."""
    d, a = mixture(), direction(4, seed=9)
    n = 6000
    loc = d.loc.expand(n, 3, 4).clone().requires_grad_()
    kappa = d.concentration.expand(n, 3).clone().requires_grad_()
    many = MixtureOfVonMisesFisher(d.logits.expand(n, 3), loc, kappa, validate_args=False)
    grads = torch.autograd.grad((many.rsample() @ a).sum(), (loc, kappa))
    leaves = d.loc.clone().requires_grad_(), d.concentration.clone().requires_grad_()
    exact = MixtureOfVonMisesFisher(d.logits, *leaves, validate_args=False).mean @ a
    for got, want, leaf in zip(grads, torch.autograd.grad(exact, leaves), leaves, strict=True):
        if leaf.ndim == 2:  # along the sphere
            got = got - (got * d.loc).sum(-1, keepdim=True) * d.loc
            want = want - (want * d.loc).sum(-1, keepdim=True) * d.loc
        assert within(got, want)


def test_no_pathwise_gradient_in_the_weights() -> None:
    logits = torch.zeros(2, requires_grad=True)
    d = MixtureOfVonMisesFisher(logits, torch.eye(2, 3), 3.0)
    assert not d.has_rsample
    assert mixture().has_rsample
    assert d.sample((4,)).shape == (4, 3)
    with pytest.raises(NotImplementedError, match="rsample has no gradient in logits"):
        d.rsample()
    with torch.no_grad():
        assert d.rsample((4,)).shape == (4, 3)
    (grad,) = torch.autograd.grad(d.log_prob(torch.eye(1, 3)).sum(), logits)
    assert grad[0] > 0 > grad[1]


def test_derivatives_of_the_density() -> None:
    d, x = mixture(), direction(5, 4, seed=7)

    def density(logits: Tensor, loc: Tensor, kappa: Tensor) -> Tensor:
        loc = loc / loc.norm(dim=-1, keepdim=True)
        return MixtureOfVonMisesFisher(logits, loc, kappa, validate_args=False).log_prob(x)

    leaves = [t.detach().clone().requires_grad_() for t in (d.logits, d.loc, d.concentration)]
    assert torch.autograd.gradcheck(density, leaves)
    assert torch.autograd.gradgradcheck(density, leaves)


def test_weights_of_zero() -> None:
    loc = direction(2, 3)
    d = MixtureOfVonMisesFisher(torch.tensor([0.0, -math.inf], dtype=torch.float64), loc, 4.0)
    one, x = VonMisesFisher(loc[0], 4.0), direction(6, 3, seed=4)
    assert_close(d.log_prob(x), one.log_prob(x))
    assert_close(d.mean, one.mean)
    assert (d.posterior(x).probs == torch.tensor([1.0, 0.0])).all()
    assert d.sample((50,)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_dtypes(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    d = mixture(8, 3, batch, dtype)
    x = d.sample((20,))
    assert x.dtype == d.mean.dtype == d.variance.dtype == dtype
    log_prob = d.log_prob(x)
    assert log_prob.dtype == d.log_responsibilities(x).dtype == torch.float32
    parts = (d.logits.double(), d.loc.double(), d.concentration.double())
    exact = MixtureOfVonMisesFisher(*parts, validate_args=False).log_prob(x.double())
    # the logits are normalised once more
    assert_close(log_prob.double(), exact, rtol=1e-5, atol=4 * torch.finfo(dtype).eps)


def test_expand_pickle_and_deepcopy() -> None:
    d = mixture(batch=(3,))
    x = d.sample((6, 2))
    e = d.expand((2, 3))
    assert e.batch_shape == (2, 3)
    assert_close(e.log_prob(x), d.log_prob(x))
    assert e.sample((5,)).shape == (5, 2, 3, 4)
    assert mixture().expand((0,)).sample().shape == (0, 4)
    with pytest.raises(ValueError, match=r"batch_shape must be an expansion of \(3,\), got \(4,\)"):
        d.expand((4,))
    for twin in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert_close(twin.log_prob(x), d.log_prob(x), rtol=0, atol=0)


def test_compiles_in_one_graph() -> None:
    def density(logits: Tensor, loc: Tensor, kappa: Tensor, x: Tensor) -> Tensor:
        d = MixtureOfVonMisesFisher(logits, loc, kappa, validate_args=False)
        return d.log_prob(x) + d.mean.sum() + d.log_responsibilities(x).exp()[..., 0]

    d, x = mixture(), direction(5, 4, seed=7)
    arguments = (d.logits, d.loc, d.concentration, x)
    compiled = torch.compile(density, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*arguments), density(*arguments))


def test_errors() -> None:
    name, loc, zeros = "MixtureOfVonMisesFisher", torch.eye(2, 3), torch.zeros(2)
    with pytest.raises(TypeError, match=rf"{name}: logits must be .* got list"):
        MixtureOfVonMisesFisher([0.0, 0.0], loc, 1.0)
    with pytest.raises(TypeError, match=rf"{name}: loc must be .* got torch.int64"):
        MixtureOfVonMisesFisher(zeros, loc.long(), 1.0)
    with pytest.raises(TypeError, match=rf"{name}: logits must have the dtype of loc"):
        MixtureOfVonMisesFisher(zeros.double(), loc, 1.0)
    with pytest.raises(ValueError, match=rf"{name}: loc must be \(\*batch, 3, p\) .*\(2, 3\)"):
        MixtureOfVonMisesFisher(torch.zeros(3), loc, 1.0)
    with pytest.raises(
        ValueError, match=rf"{name}: concentration must be .*\(\*batch, 2\).*\(3,\)"
    ):
        MixtureOfVonMisesFisher(zeros, loc, torch.ones(3))
    with pytest.raises(ValueError, match=rf"{name}: the batches of logits.*\(4, 2\).*\(3, 2, 3\)"):
        MixtureOfVonMisesFisher(torch.zeros(4, 2), loc.expand(3, 2, 3), 1.0)
    with pytest.raises(ValueError, match=rf"{name}: logits must be .*K >= 1"):
        MixtureOfVonMisesFisher(torch.zeros(0), torch.ones(0, 3), 1.0)
    for bad in ((zeros * math.nan, loc, 1.0), (zeros, 2 * loc, 1.0), (zeros, loc, -1.0)):
        with pytest.raises(ValueError, match=r"parameter (logits|loc|concentration)"):
            MixtureOfVonMisesFisher(*bad, validate_args=True)
    d = MixtureOfVonMisesFisher(zeros, loc, 1.0, validate_args=True)
    with pytest.raises(ValueError, match=rf"{name}: value must have shape \(\*, 3\), got \(4,\)"):
        d.log_prob(direction(4, dtype=torch.float32))
    with pytest.raises(ValueError, match="support"):
        d.log_prob(torch.ones(3))
    with pytest.raises(NotImplementedError, match=rf"{name}: the entropy .* estimate it"):
        d.entropy()

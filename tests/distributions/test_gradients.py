"""First and second derivatives in the concentration and the mean direction."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence

from flowkernels.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher

from .cases import direction, each_class, within

KAPPAS = [0.7, 6.0, 29.5, 300.0]


def unit(v):
    """Project back to the sphere, so that gradcheck may perturb the points."""
    return v / v.norm(dim=-1, keepdim=True)


def check(function, *inputs):
    inputs = [v.detach().clone().requires_grad_() for v in inputs]
    assert gradcheck(function, inputs, rtol=1e-5, atol=1e-7)
    assert gradgradcheck(function, inputs, rtol=1e-5, atol=1e-6)


@each_class
@pytest.mark.parametrize("dim", [2, 5, 64])
def test_log_prob_and_entropy(cls, dim):
    kappa = torch.tensor(KAPPAS, dtype=torch.float64)
    x, loc = direction(len(KAPPAS), min(dim, 5)), direction(len(KAPPAS), min(dim, 5), seed=2)
    if dim > 5:  # constant coordinates keep the check short
        fill = torch.zeros(len(KAPPAS), dim - 5, dtype=torch.float64)
        widen = lambda v: torch.cat([unit(v), fill], -1)  # noqa: E731
    else:
        widen = unit
    check(
        lambda x, loc, k: cls(widen(loc), k, validate_args=False).log_prob(widen(x)), x, loc, kappa
    )
    check(lambda k: cls(widen(loc), k).entropy(), kappa)
    check(lambda k: cls(widen(loc), k).variance.sum(-1), kappa)
    check(lambda loc, k: cls(unit(loc), k, validate_args=False).variance, loc, kappa)


@pytest.mark.parametrize("dim", [2, 3, 200])
def test_divergences(dim):
    kappa = torch.tensor([0.7, 6.0, 29.5, 400.0, 6.0], dtype=torch.float64)
    other = torch.tensor([0.9, 6.0, 300.0, 20.0, 6.0 + 1e-4], dtype=torch.float64)
    fixed = direction(5, dim)
    uniform = HypersphericalUniform(dim, dtype=torch.float64)
    check(
        lambda k, m: kl_divergence(VonMisesFisher(fixed, k), VonMisesFisher(fixed, m)), kappa, other
    )
    for cls in (VonMisesFisher, PowerSpherical):
        check(lambda k, cls=cls: kl_divergence(cls(fixed, k), uniform), kappa)
    check(lambda k: kl_divergence(uniform, VonMisesFisher(fixed, k)), kappa)


def test_divergence_in_the_directions():
    def function(a, b, k, m):
        p, q = (VonMisesFisher(unit(v), c, validate_args=False) for v, c in ((a, k), (b, m)))
        return kl_divergence(p, q)

    kappa, other = (torch.tensor(v, dtype=torch.float64) for v in ([0.7, 8.0], [3.0, 7.5]))
    check(function, direction(2, 4), direction(2, 4, seed=1), kappa, other)


def test_func_transforms_of_the_divergence():
    loc = direction(3)

    def function(k, m):
        return kl_divergence(VonMisesFisher(loc, k), VonMisesFisher(loc, m))

    k, m = torch.tensor([2.0, 5.0, 40.0], dtype=torch.float64), torch.tensor(5.5).double()
    got = torch.func.vmap(torch.func.grad(function), (0, None))(k, m)
    leaf = k.clone().requires_grad_()
    (want,) = torch.autograd.grad(function(leaf, m).sum(), leaf)
    torch.testing.assert_close(got, want)
    _, tangent = torch.func.jvp(lambda k: function(k, m), (k,), (torch.ones_like(k),))
    torch.testing.assert_close(tangent, want)


@each_class
@pytest.mark.parametrize("kappa", [0.0, 1e-8, 1e12])
def test_finite_at_extreme_concentrations(cls, kappa):
    loc = direction(2, 6).requires_grad_()
    k = torch.full((2,), kappa, dtype=torch.float64, requires_grad=True)
    d = cls(loc, k)
    for value in (d.log_prob(d.mode.detach()), d.entropy(), d.variance.sum(-1), d.mean.sum(-1)):
        assert value.isfinite().all()
        for grad in torch.autograd.grad(value.sum(), (k, loc), allow_unused=True):
            assert grad is None or grad.isfinite().all()


@each_class
@pytest.mark.parametrize(("dim", "kappa"), [(2, 1.5), (3, 8.0), (20, 40.0)])
def test_rsample_gradients(cls, dim, kappa):
    """E[a.x] = A(kappa) a.loc, and its gradients in both parameters."""
    n = 4000
    loc, a = direction(dim), direction(dim, seed=4)
    k = torch.full((n,), kappa, dtype=torch.float64, requires_grad=True)
    many = loc.expand(n, dim).clone().requires_grad_()
    x = cls(many, k).rsample()
    grad_k, grad_loc = torch.autograd.grad((x @ a).sum(), (k, many))
    exact_k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    exact = cls(loc, exact_k).mean @ a
    assert within(grad_k, torch.autograd.grad(exact, exact_k)[0])
    across = grad_loc - (grad_loc @ loc)[:, None] * loc
    assert within(across, cls(loc, kappa).mean.norm() * (a - (a @ loc) * loc))

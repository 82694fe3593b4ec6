"""torch.compile traces distributions that are built and used inside the graph, with gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.testing import assert_close

from flowkernels.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    SphericalCauchy,
    VonMisesFisher,
)

from .cases import direction


def loss(loc: Tensor, kappa: Tensor, other: Tensor) -> Tensor:
    """A sum of all quantities of the distributions that depend on the parameters."""
    unchecked = {"validate_args": False}
    p = VonMisesFisher(loc, kappa, **unchecked)
    q = VonMisesFisher(loc.flip(0), other, **unchecked)
    r = PowerSpherical(loc, kappa, **unchecked)
    c = SphericalCauchy(loc, kappa / (kappa + 1), **unchecked)
    uniform = HypersphericalUniform(loc.shape[-1], dtype=loc.dtype, **unchecked)
    x = loc.roll(1, 0)
    total = kl_divergence(p, q) + kl_divergence(r, uniform) + kl_divergence(uniform, q)
    total = total + kl_divergence(c, q) + kl_divergence(c, r)
    for d in (p, r, c):
        total = total + d.log_prob(x) + d.entropy() + d.variance.sum(-1) + d.mean.sum(-1)
    return total + uniform.log_prob(x)


def test_one_graph() -> None:
    loc = direction(4, 5).requires_grad_()
    kappa, other = (
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in ([0.5, 2.0, 5.0, 5.1], [1.0, 3.0, 5.0, 50.0])
    )
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaves = (loc, kappa, other)
    got, want = compiled(*leaves), loss(*leaves)
    assert_close(got, want)
    for a, b in zip(
        torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(want.sum(), leaves), strict=True
    ):
        assert_close(a, b)


def test_draws_in_one_graph() -> None:
    def draw(loc: Tensor, kappa: Tensor) -> Tensor:
        numbers = {VonMisesFisher: kappa, PowerSpherical: kappa, SphericalCauchy: kappa / 8}
        laws = [d(loc, number, validate_args=False) for d, number in numbers.items()]
        return torch.stack([law.rsample((3,)) for law in laws])

    loc, kappa = direction(4, 5), torch.full((4,), 7.0, dtype=torch.float64, requires_grad=True)
    x = torch.compile(draw, fullgraph=True, backend="aot_eager")(loc, kappa)
    assert x.shape == (3, 3, 4, 5)
    assert_close(x.norm(dim=-1), torch.ones(3, 3, 4, dtype=torch.float64))
    (grad,) = torch.autograd.grad((x * loc).sum(), kappa)
    assert (grad > 0).all()  # a larger concentration draws towards loc

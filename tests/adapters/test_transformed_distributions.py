"""Distributions made by our transforms, and bijections and flows as transforms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import (
    ComposeTransform,
    Independent,
    Normal,
    TransformedDistribution,
    biject_to,
)
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.adapters.torch_distributions import (
    AffineCouplingTransform,
    BijectionTransform,
    SplineCouplingTransform,
    StereographicTransform,
    as_transform,
)
from flowkernels.bases import StandardNormal
from flowkernels.bijections import AffineCoupling, ScaledStereographic, Squeeze, mlp_conditioner
from flowkernels.distributions import VonMisesFisher
from flowkernels.flows import Flow, glow, nsf

from .transforms import NAMES, base, every_module, every_transform, spread, transform_of


@every_transform
def test_transformed_distribution(name: str) -> None:
    t, event = transform_of(name)
    zeros = torch.zeros(event, dtype=torch.float64)
    normal = Independent(Normal(zeros, torch.ones_like(zeros)), len(event))
    density = TransformedDistribution(normal, t, validate_args=True)
    assert density.event_shape == t.forward_shape(event)
    x = density.rsample((6, 2))
    assert x.shape == (6, 2, *density.event_shape)
    z = t.inv(x)
    log_det = t.log_abs_det_jacobian(z, x)
    log_det = log_det.sum(-1) if t.domain.event_dim == 0 else log_det
    assert_close(density.log_prob(x), normal.log_prob(z) - log_det)
    assert density.expand((3,)).sample((2,)).shape == (2, 3, *density.event_shape)
    assert density.expand((3,)).log_prob(x[:3, 0]).shape == (3,)


@pytest.mark.parametrize("name", [name for name in NAMES if "images" not in name][:3])
def test_empty_batches_of_distributions(name: str) -> None:
    """torch's own Independent has none; bases of ours do."""
    t, event = transform_of(name)
    normal = StandardNormal(*event).double().as_distribution()
    density = TransformedDistribution(normal, t, validate_args=True)
    x = density.sample((0, 2))
    assert x.shape == (0, 2, *event)
    assert density.log_prob(x).shape == (0, 2)


@every_transform
def test_chains(name: str) -> None:
    t, event = transform_of(name)
    chain = ComposeTransform([t, t.inv], cache_size=1)
    x = torch.randn(3, *event, dtype=torch.float64)
    y = chain(x)
    assert_close(y, x, rtol=1e-9, atol=1e-9)
    assert chain.log_abs_det_jacobian(x, y).abs().max() < 1e-8


@pytest.mark.parametrize("name", ["affine coupling", "splines, vectors", "context"])
def test_compiles_without_graph_breaks(name: str) -> None:
    """Where nothing is checked: torch's checks read values."""
    t, event = transform_of(name)
    density = TransformedDistribution(base(*event, checked=False), t, validate_args=False)
    x = torch.randn(5, *event, dtype=torch.float64)
    compiled = torch.compile(density.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), density.log_prob(x))
    assert_close(compiled(x[:4]), density.log_prob(x[:4]))


def test_vmap() -> None:
    t, event = transform_of("spline coupling")
    density = TransformedDistribution(base(*event, checked=False), t, validate_args=False)
    x = torch.randn(5, *event, dtype=torch.float64)
    assert_close(torch.vmap(density.log_prob)(x), density.log_prob(x))
    score = torch.func.vmap(torch.func.grad(density.log_prob))(x)
    leaf = x.requires_grad_()
    (want,) = torch.autograd.grad(density.log_prob(leaf).sum(), leaf)
    assert_close(score, want)


def test_stereographic_density_of_von_mises_fisher() -> None:
    loc = torch.nn.functional.normalize(torch.randn(4).double(), dim=0)
    kappa = torch.tensor(5.0).double()
    in_space = TransformedDistribution(VonMisesFisher(loc, kappa), StereographicTransform().inv)
    assert in_space.event_shape == (3,)
    z = in_space.sample((10,))
    assert_close(in_space.log_prob(z), ops.stereographic_vmf_log_prob(z, loc, kappa))


def test_density_on_the_sphere_integrates_to_one() -> None:
    """With respect to its area, which is 4 pi."""
    on_sphere = TransformedDistribution(base(2), StereographicTransform())
    points = torch.nn.functional.normalize(torch.randn(400_000, 3).double(), dim=-1)
    values = 4 * math.pi * on_sphere.log_prob(points).exp()
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - 1) < 5 * error < 0.02


# Bijections and flows.


@every_module
def test_supports_are_known_to_torch(name: str) -> None:
    """To the registries by which samplers and guides of pyro find an unconstrained space."""
    t, _ = transform_of(name)
    for constraint in (t.domain, t.codomain):
        assert biject_to(constraint).domain.event_dim == constraint.event_dim


@every_module
def test_are_modules(name: str) -> None:
    t, _ = transform_of(name)
    assert isinstance(t, BijectionTransform)
    holder = nn.ModuleList([t])
    assert len(list(holder.parameters())) == len(list(t.bijection.parameters())) > 0
    assert "bijection" in str(holder)
    assert {t: 1}[t] == 1


def test_training_by_maximum_likelihood() -> None:
    layers = nn.ModuleList(
        SplineCouplingTransform(mlp_conditioner(1, 11, (16,)), bins=4, transform=part)
        for part in ("first", "second", "first")
    )
    normal = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    density = TransformedDistribution(normal, list(layers))
    first = torch.randn(512)
    data = torch.stack([first, first.square() / 2 - 1 + 0.3 * torch.randn(512)], 1)
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-2)
    before = density.log_prob(data).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        (-density.log_prob(data).mean()).backward()
        optimizer.step()
    assert density.log_prob(data).mean().item() > before + 0.5


def test_directions_are_inverses() -> None:
    flow = spread(nsf(4, layers=2, hidden=8))
    to_data, to_latent = as_transform(flow), as_transform(flow, direction="to_latent")
    x = torch.randn(3, 4, dtype=torch.float64)
    z, log_det = flow(x)
    for t in (to_latent, to_data.inv):
        assert torch.equal(t(x), z)
        assert torch.equal(t.log_abs_det_jacobian(x, z), log_det)
    assert torch.equal(to_data(z), flow.inverse(z)[0])


def test_images_to_vectors() -> None:
    flow = spread(glow((2, 4, 4), levels=2, steps=1, hidden=8, base="normal", dequantize=False))
    assert isinstance(flow, Flow)
    t = as_transform(flow)
    assert t.domain.event_dim == 1 and t.codomain.event_dim == 3
    assert t.forward_shape((5, 32)) == (5, 2, 4, 4)
    assert t.inv.forward_shape((5, 2, 4, 4)) == (5, 32)
    density = TransformedDistribution(base(32), t)
    x = density.sample((3,))
    assert_close(density.log_prob(x), flow.log_prob(x))
    with pytest.raises(ValueError, match=r"latents must be \(\*batch, 32\), got \(31,\)"):
        t(torch.randn(31).double())
    with pytest.raises(ValueError, match=r"of data must be \(\*batch, 2, 4, 4\), got \(4, 4\)"):
        t.inv(torch.randn(4, 4).double())


def test_bijections_that_change_the_shape() -> None:
    t = as_transform(Squeeze(), direction="to_latent", shapes=((1, 4, 6), (4, 2, 3)))
    x = torch.randn(5, 1, 4, 6)
    assert t(x).shape == t.forward_shape(x.shape) == (5, 4, 2, 3)
    assert torch.equal(t.inv(t(x)), x)
    to_sphere = as_transform(ScaledStereographic(3), direction="to_latent", shapes=((3,), (4,)))
    assert to_sphere(torch.randn(2, 3)).shape == (2, 4)


def test_contexts() -> None:
    flow = spread(nsf(4, layers=2, hidden=8, context=2))
    assert isinstance(flow, Flow)
    context = torch.randn(5, 2, dtype=torch.float64)
    t = as_transform(flow, context=context)
    assert t.forward_shape((4,)) == (5, 4) and t.forward_shape((7, 1, 4)) == (7, 5, 4)
    density = TransformedDistribution(base(4), t)
    assert density.batch_shape == (5,)
    x = density.sample((3,))
    assert x.shape == (3, 5, 4)
    assert_close(density.log_prob(x), flow.log_prob(x, context))
    one = torch.randn(4, dtype=torch.float64)
    assert_close(density.log_prob(one), flow.log_prob(one.expand(5, 4), context))
    with pytest.raises(ValueError, match=r"shape \(3,\) must broadcast with .* context, \(5,\)"):
        t(x[:, 0])
    # A bijection alone reads features.
    network = mlp_conditioner(2, 4, (8,), context=2)
    coupling = spread(AffineCouplingTransform(network, context=context))
    y = coupling(x)
    want, log_det = AffineCoupling(network)(x[1], context)
    assert_close(y[1], want)
    assert_close(coupling.log_abs_det_jacobian(x, y)[1], log_det)


def test_refusals() -> None:
    flow = nsf(4, layers=1, hidden=8)
    conditional = nsf(4, layers=1, hidden=8, context=2)
    with pytest.raises(TypeError, match=r"as_transform: bijection must be a module with `inverse`"):
        as_transform(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"direction must be one of to_data, to_latent, got 'up'"):
        as_transform(flow, direction="up")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"context must be None, as the bijection reads none"):
        as_transform(flow, context=torch.zeros(2))
    with pytest.raises(TypeError, match=r"context must be a tensor \(\*batch, 2\), got None"):
        as_transform(conditional)
    with pytest.raises(ValueError, match=r"context must have shape \(\*batch, 2\), got \(5, 3\)"):
        as_transform(conditional, context=torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"shapes and event_dim are the flow's own"):
        as_transform(flow, event_dim=3)
    with pytest.raises(ValueError, match=r"shapes must be two shapes .* got \(\(4,\), \(\)\)"):
        as_transform(Squeeze(), shapes=((4,), ()))
    discrete = glow((1, 4, 4), levels=1, steps=1, hidden=8, base="normal")
    with pytest.raises(TypeError, match=r"bijection must map continuous data, got a flow of disc"):
        as_transform(discrete)
    with pytest.raises(ValueError, match="cache_size must be 0 or 1"):
        as_transform(flow, cache_size=2)

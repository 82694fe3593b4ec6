"""The trainable mixture of von Mises-Fisher distributions as a flow's base."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowkernels.bases import SphericalVonMisesFisher, SphericalVonMisesFisherMixture
from flowkernels.flows import realnvp

from .test_bases import sinh_grid


def base(dim: int = 4, components: int = 3, **options: object) -> SphericalVonMisesFisherMixture:
    torch.manual_seed(0)
    made = SphericalVonMisesFisherMixture(dim, components, **options)
    with torch.no_grad():
        made.logits.add_(torch.randn(components))
        made.log_concentration.add_(0.3 * torch.randn(components))
    return made


@pytest.mark.parametrize(("dim", "points"), [(1, 4001), (2, 801)])
def test_density_integrates_to_one(dim: int, points: int) -> None:
    z, weight = sinh_grid(dim, points)
    total = (base(dim).double().log_prob(z).exp() * weight).sum()
    assert abs(total.item() - 1) < 1e-6


def test_one_component_is_the_von_mises_fisher_base() -> None:
    one = SphericalVonMisesFisherMixture(5, 1, 1.5, spread=0.0).double()
    z = torch.randn(7, 5, dtype=torch.float64)
    assert_close(one.log_prob(z), SphericalVonMisesFisher(5, 1.5).double().log_prob(z))


@pytest.mark.parametrize("dim", [2, 16])
def test_draws_follow_the_density(dim: int) -> None:
    own, n = base(dim).double(), 20_000
    z = own.sample(n)
    log_q = torch.distributions.Normal(z.median(0).values, 1.0).log_prob(z).sum(-1)
    ratio = (log_q - own.log_prob(z)).detach().exp()  # E_p[q / p] = 1
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / math.sqrt(n)
    assert ratio.std() / math.sqrt(n) < 0.1


def test_a_new_base_suits_unit_variance() -> None:
    dim = 784
    new = SphericalVonMisesFisherMixture(dim, 10)
    z = torch.randn(200, dim)
    own, normal = new.log_prob(new.sample(200)), new.log_prob(z)
    assert abs(own.mean() - normal.mean()) < 0.02 * dim
    # components differ by a few nats, so that each has its own gradient
    each = new.sphere().component_distribution.log_prob(new.projection(z)[0].unsqueeze(1))
    assert 0.3 < each.std(1).mean() < 5


def test_path_state_and_dtypes() -> None:
    own = base(6)
    a, b = own.sample(2)
    t = torch.linspace(0, 1, 5)
    assert_close(own.path(a, b, t), SphericalVonMisesFisher(6).path(a, b, t))
    other = SphericalVonMisesFisherMixture(6, 3)
    other.load_state_dict(own.state_dict())
    z = own.sample((2, 3))
    assert torch.equal(other.log_prob(z), own.log_prob(z))
    double = copy.deepcopy(own).double()
    assert double.sample(2).dtype == torch.float64
    assert_close(double.log_prob(z.double()).float(), own.log_prob(z), rtol=1e-5, atol=1e-5)
    half = copy.deepcopy(own).bfloat16()
    assert half.log_prob(half.sample(4)).dtype == torch.float32


def test_draws_are_reparametrised_without_trained_weights() -> None:
    own = base()
    assert not own.has_rsample
    with pytest.raises(NotImplementedError, match="no gradient in logits"):
        own.rsample((3,))
    own.logits.requires_grad_(False)
    assert own.has_rsample
    grads = torch.autograd.grad(own.rsample((3,)).sum(), (own.directions, own.log_concentration))
    assert all(g.isfinite().all() and g.any() for g in grads)
    assert own.as_distribution().has_rsample


def test_compiles_without_graph_breaks() -> None:
    own, z = base(5), torch.randn(7, 5)
    torch._dynamo.reset()
    compiled = torch.compile(own.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(z), own.log_prob(z))


def test_single_precision_in_3072_dimensions() -> None:
    own = base(3072, 4)
    double = copy.deepcopy(own).double()
    z = torch.cat([own.sample(8), torch.randn(8, 3072)])
    got, exact = own.log_prob(z).double(), double.log_prob(z.double())
    assert (got - exact).abs().max() <= 4e-3  # the spacing at 5,000 nats is 5e-4


def three_groups(n: int) -> tuple[Tensor, Tensor]:
    label = torch.arange(n) % 3
    angle = label * (2 * math.pi / 3)
    centre = torch.stack([angle.cos(), angle.sin()], -1)
    return 2 * centre + 0.3 * torch.randn(n, 2), label


def test_training_finds_groups() -> None:
    """A flow with three components raises the likelihood and gives each group a component."""
    torch.manual_seed(1)
    x, label = three_groups(600)
    flow = realnvp(2, layers=2, hidden=16, base=SphericalVonMisesFisherMixture(2, 3, 4.0))
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    for parameter in flow.base.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    with torch.no_grad():
        component = flow.base.posterior(flow.forward(x)[0]).probs.argmax(-1)
    purity = sum((component[label == i].bincount(minlength=3).max()) for i in range(3)) / len(x)
    assert purity > 0.9
    assert flow.sample(5).shape == flow.interpolate(x[0], x[1], torch.rand(5)).shape == (5, 2)


def test_errors() -> None:
    name = "SphericalVonMisesFisherMixture"
    with pytest.raises(ValueError, match=f"{name}: components must be at least 1, got 0"):
        SphericalVonMisesFisherMixture(3, 0)
    with pytest.raises(ValueError, match=f"{name}: concentration_scale must be positive"):
        SphericalVonMisesFisherMixture(3, 2, 0.0)
    with pytest.raises(ValueError, match=f"{name}: spread must be >= 0"):
        SphericalVonMisesFisherMixture(3, 2, spread=-1.0)
    with pytest.raises(ValueError, match=rf"{name}: loc must be 2 unit vectors, shape \(2, 4\)"):
        SphericalVonMisesFisherMixture(3, 2, loc=torch.eye(2, 3))
    with pytest.raises(ValueError, match=r"of other lengths"):
        SphericalVonMisesFisherMixture(3, 2, loc=2 * torch.eye(2, 4))
    kept = SphericalVonMisesFisherMixture(3, 2, loc=torch.eye(2, 4))
    assert torch.equal(kept.directions, torch.eye(2, 4))
    with pytest.raises(ValueError, match=f"{name}: z must"):
        kept.posterior(torch.zeros(2, 4))

"""Flows as distributions of torch.distributions, and in pyro and zuko."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.testing import assert_close

from flowkernels.adapters.torch_distributions import (
    AffineCouplingTransform,
    SplineTransform,
    as_distribution,
    as_transform,
)
from flowkernels.bijections import mlp_conditioner
from flowkernels.flows import Flow, glow, maf, nsf, realnvp

WITHOUT_PYRO = "pyro is not installed (package pyro-ppl, extra `dev`)"
WITHOUT_ZUKO = "zuko is not installed (extra `peers`)"


def spread(flow: Flow, dtype: torch.dtype = torch.float64) -> Flow:
    """The flow with weights that are not those of the start, where some maps are lines."""
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return flow.to(dtype).eval()


FLOWS: dict[str, Callable[[], Flow]] = {
    "nsf": lambda: nsf(3, layers=2, hidden=8),
    "maf": lambda: maf(3, layers=2, hidden=8),
    "vmf": lambda: realnvp(3, layers=2, hidden=8, base="vmf"),
    "images": lambda: glow((1, 4, 4), levels=1, steps=1, hidden=8, base="normal", dequantize=False),
}
every_flow = pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)


@every_flow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_has_density_and_draws_of_the_flow(make: Callable[[], Flow], dtype: torch.dtype) -> None:
    flow = spread(make(), dtype)
    density = as_distribution(flow, validate_args=True)
    assert density.batch_shape == () and density.event_shape == flow.event_shape
    for shape in ((), (4,), (2, 3), (0,), (0, 3)):
        x = density.sample(shape)
        assert x.shape == (*shape, *flow.event_shape) and x.dtype == dtype
        log_prob = density.log_prob(x)
        assert log_prob.shape == shape
        assert torch.equal(log_prob, flow.log_prob(x))
    torch.manual_seed(1)
    want = flow.sample((5,))
    torch.manual_seed(1)
    assert torch.equal(density.sample((5,)), want)
    with pytest.raises(ValueError, match="within the support"):
        density.log_prob(torch.full(flow.event_shape, torch.nan))


@every_flow
def test_expanded(make: Callable[[], Flow]) -> None:
    density = as_distribution(spread(make())).expand((2, 5))
    assert density.batch_shape == (2, 5)
    x = density.sample((3,))
    assert x.shape == (3, 2, 5, *density.event_shape)
    assert not torch.equal(x[:, 0], x[:, 1])
    assert density.log_prob(x).shape == (3, 2, 5)
    assert density.log_prob(x[0, 0, 0]).shape == (2, 5)
    assert density.expand((7, 2, 5)).sample().shape == (7, 2, 5, *density.event_shape)


def test_contexts_are_the_batch() -> None:
    flow = spread(nsf(3, layers=2, hidden=8, context=2))
    context = torch.randn(4, 5, 2, dtype=torch.float64)
    density = as_distribution(flow, context, validate_args=True)
    assert density.batch_shape == (4, 5)
    for shape in ((), (6,), (2, 3), (0,)):
        x = density.sample(shape)
        assert x.shape == (*shape, 4, 5, 3)
        assert_close(density.log_prob(x), flow.log_prob(x, context))
    one = torch.randn(3, dtype=torch.float64)
    assert_close(density.log_prob(one), flow.log_prob(one.expand(4, 5, 3), context))
    x, log_prob = density.sample_and_log_prob((2, 3))
    assert_close(density.log_prob(x), log_prob)
    x, log_prob = density.rsample_and_log_prob((2,))
    assert_close(density.log_prob(x), log_prob)
    expanded = density.expand((7, 4, 5))
    x = expanded.sample((2,))
    assert x.shape == (2, 7, 4, 5, 3)
    assert_close(expanded.log_prob(x), flow.log_prob(x, context))


def test_draws_belong_to_their_contexts() -> None:
    """Each density is far from the others: the axes of samples and batch are not mixed up."""
    flow = nsf(2, layers=1, hidden=8, context=1, actnorm=False, embedding=nn.Embedding(3, 1),
               context_shape=())  # fmt: skip
    shifted = _Shifted(flow)
    classes = torch.tensor([0, 1, 2])
    x = as_distribution(shifted, classes).sample((50, 4))
    assert x.shape == (50, 4, 3, 2)
    assert_close(x.mean((0, 1, 3)), torch.tensor([0.0, 100.0, 200.0]), rtol=0, atol=1)


class _Shifted(Flow):
    """A flow whose draws are moved by 100 times their class."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(
            flow.bijection, flow.base, embedding=flow.embedding, context_shape=flow.context_shape
        )

    def sample(self, sample_shape=(), context=None):  # type: ignore[no-untyped-def]
        x = super().sample(sample_shape, context)
        return x + 100 * context.reshape(-1, *[1] * (x.ndim - 1))


def test_reparametrised_draws() -> None:
    flow = spread(realnvp(3, layers=2, hidden=8))
    density = as_distribution(flow)
    assert density.has_rsample
    density.rsample((4,)).sum().backward()
    gradients = [p.grad for p in flow.parameters() if p.requires_grad]
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)
    assert not density.sample((4,)).requires_grad
    torch.manual_seed(1)
    want, _ = flow.rsample_and_log_prob((5,))
    torch.manual_seed(1)
    assert torch.equal(density.rsample((5,)), want)
    with pytest.raises(ValueError, match="sample_shape must be a sequence of integers >= 0"):
        density.rsample((-1,))


def test_bases_without_rsample() -> None:
    flow = realnvp(3, layers=2, hidden=8, base="resampled")
    density = as_distribution(flow)
    assert density.has_rsample is flow.base.has_rsample is False
    assert density.sample((2,)).shape == (2, 3)
    with pytest.raises(NotImplementedError, match="rsample needs a base with rsample"):
        density.rsample()


def test_discrete_data() -> None:
    flow = glow((1, 4, 4), levels=1, steps=1, hidden=8, base="normal").eval()
    density = as_distribution(flow, validate_args=True)
    assert not density.has_rsample
    x = density.sample((3,))
    assert bool(density.support.check(x).all())
    torch.manual_seed(1)
    want = flow.log_prob(x)
    torch.manual_seed(1)
    assert torch.equal(density.log_prob(x), want)
    with pytest.raises(ValueError, match="within the support"):
        density.log_prob(x + 0.5)
    with pytest.raises(NotImplementedError, match="continuous data"):
        density.rsample()
    with pytest.raises(TypeError, match="rsample: the flow's data are discrete; use sample"):
        flow.rsample()


def test_gradients() -> None:
    density = as_distribution(spread(nsf(3, layers=2, hidden=8)))
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(density.log_prob, (x,))


def test_equals_the_transformed_base() -> None:
    flow = spread(maf(3, layers=2, hidden=8))
    transformed = TransformedDistribution(flow.base.as_distribution(), as_transform(flow))
    density = as_distribution(flow)
    x = torch.randn(6, 3, dtype=torch.float64)
    assert_close(transformed.log_prob(x), density.log_prob(x))
    torch.manual_seed(1)
    want = transformed.rsample((5,))
    torch.manual_seed(1)
    assert_close(density.rsample((5,)), want)


def test_copies_and_repr() -> None:
    density = as_distribution(spread(maf(3, layers=1, hidden=8)))
    x = torch.randn(2, 3, dtype=torch.float64)
    for twin in (copy.deepcopy(density), pickle.loads(pickle.dumps(density))):
        assert torch.equal(twin.log_prob(x), density.log_prob(x))
    assert str(density) == "FlowDistribution(Flow, batch_shape=(), event_shape=(3,))"


def test_compiles_without_graph_breaks() -> None:
    density = as_distribution(spread(nsf(3, layers=2, hidden=8)), validate_args=False)
    x = torch.randn(5, 3, dtype=torch.float64)
    compiled = torch.compile(density.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), density.log_prob(x))


def test_refusals() -> None:
    conditional = nsf(3, layers=1, hidden=8, context=2)
    with pytest.raises(TypeError, match="FlowDistribution: flow must be a Flow, got Linear"):
        as_distribution(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"context must be a tensor \(\*batch, 2\), got None"):
        as_distribution(conditional)
    with pytest.raises(ValueError, match=r"context must have shape \(\*batch, 2\), got \(4, 3\)"):
        as_distribution(conditional, torch.zeros(4, 3))
    with pytest.raises(TypeError, match=r"context must be None"):
        as_distribution(nsf(3, layers=1, hidden=8), torch.zeros(2))


# Other libraries.


def test_pyro_samples_and_scores() -> None:
    pyro = pytest.importorskip("pyro", reason=WITHOUT_PYRO)
    flow = spread(nsf(3, layers=2, hidden=8), torch.float32)
    base = flow.base.as_distribution()
    density = pyro.distributions.TransformedDistribution(base, [as_transform(flow)])

    def model() -> Tensor:
        with pyro.plate("rows", 5):
            drawn: Tensor = pyro.sample("x", density)
        return drawn

    trace = pyro.poutine.trace(model).get_trace()
    x = trace.nodes["x"]["value"]
    assert x.shape == (5, 3)
    trace.compute_log_prob()
    assert_close(trace.nodes["x"]["log_prob"], flow.log_prob(x))


def test_pyro_trains_a_flow_as_guide() -> None:
    """The posterior of a Gaussian model, which a flow finds through its draws."""
    pyro = pytest.importorskip("pyro", reason=WITHOUT_PYRO)
    dist = pyro.distributions
    pyro.clear_param_store()
    data = torch.tensor([1.0, -2.0])

    def model() -> None:
        mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=data)

    layers = nn.ModuleList(
        AffineCouplingTransform(mlp_conditioner(1, 2, (16,)), transform=part, cache_size=1)
        for part in ("first", "second")
    )

    def guide() -> None:
        pyro.module("flow", layers)
        base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        pyro.sample("mean", dist.TransformedDistribution(base, list(layers)))

    elbo = pyro.infer.Trace_ELBO(num_particles=20, vectorize_particles=True)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
    for _ in range(150):
        svi.step()
    base = Normal(torch.zeros(2), torch.ones(2))
    drawn = TransformedDistribution(Independent(base, 1), list(layers)).sample((4000,))
    # N(.8 x, .2): precisions 1 and 4.
    assert_close(drawn.mean(0), 0.8 * data, rtol=0, atol=0.12)
    assert_close(drawn.std(0), torch.full((2,), 0.2**0.5), rtol=0.25, atol=0)
    pyro.clear_param_store()


def test_pyro_conditional_flow() -> None:
    pyro = pytest.importorskip("pyro", reason=WITHOUT_PYRO)
    flow = spread(maf(3, layers=2, hidden=8, context=2), torch.float32)
    context = torch.randn(5, 2)
    density = pyro.distributions.TransformedDistribution(
        flow.base.as_distribution(), [as_transform(flow, context=context)]
    )
    with pyro.plate("rows", 5):
        x = pyro.sample("x", density)
    assert x.shape == (5, 3)
    assert_close(density.log_prob(x), flow.log_prob(x, context))


def test_zuko_flow() -> None:
    zuko = pytest.importorskip("zuko", reason=WITHOUT_ZUKO)
    flow = spread(nsf(3, layers=2, hidden=8), torch.float32)
    x = torch.randn(6, 3)
    to_latent = as_transform(flow, direction="to_latent")
    density = zuko.distributions.NormalizingFlow(to_latent, flow.base.as_distribution())
    assert_close(density.log_prob(x), flow.log_prob(x))
    drawn, log_prob = density.rsample_and_log_prob((4,))
    assert drawn.shape == (4, 3)
    assert_close(log_prob, flow.log_prob(drawn))
    lazy = zuko.lazy.Flow(
        [
            zuko.lazy.UnconditionalTransform(as_transform, flow, direction="to_latent"),
            zuko.flows.MaskedAutoregressiveTransform(3, hidden_features=[8]),
        ],
        zuko.lazy.UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(3), torch.ones(3), buffer=True
        ),
    )
    lazy().log_prob(x).mean().backward()
    assert all(p.grad is not None for p in lazy.transform.transforms[1].parameters())
    assert any(p.grad is not None for p in flow.parameters())
    assert len(list(lazy.parameters())) > len(list(flow.parameters()))


def test_zuko_learns_splines() -> None:
    zuko = pytest.importorskip("zuko", reason=WITHOUT_ZUKO)
    splines = zuko.lazy.UnconditionalTransform(SplineTransform, torch.randn(3, 23), event_dim=1)
    normal = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(3), torch.ones(3), buffer=True
    )
    flow = zuko.lazy.Flow(splines, normal)
    data = torch.distributions.Beta(2.0, 1.0).sample((500, 3)) * 4 - 2
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    before = flow().log_prob(data).mean().item()
    for _ in range(40):
        optimizer.zero_grad()
        (-flow().log_prob(data).mean()).backward()
        optimizer.step()
    assert flow().log_prob(data).mean().item() > before + 1


def test_zuko_contexts() -> None:
    zuko = pytest.importorskip("zuko", reason=WITHOUT_ZUKO)

    class Given(zuko.lazy.LazyTransform):  # type: ignore[misc, name-defined]
        def __init__(self, flow: Flow) -> None:
            super().__init__()
            self.flow = flow

        def forward(self, c: Tensor | None = None) -> torch.distributions.Transform:
            return as_transform(self.flow, context=c, direction="to_latent")

    flow = spread(nsf(3, layers=2, hidden=8, context=2), torch.float32)
    normal = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(3), torch.ones(3), buffer=True
    )
    lazy = zuko.lazy.Flow(Given(flow), normal)
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    assert_close(lazy(context).log_prob(x), flow.log_prob(x, context))
    assert lazy(context).sample((4,)).shape == (4, 5, 3)

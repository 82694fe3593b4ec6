"""Flows that read a context: densities, shapes, gradients, draws, embedding, training."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flowkernels.bases import ConditionalNormal
from flowkernels.bijections import ActNorm, AffineCoupling, Bijection, Compose, conv_conditioner
from flowkernels.bijections.base import constant_log_det
from flowkernels.flows import Flow, glow, realnvp

from .context_flows import FEATURES, FLOWS, Density, case, each_flow


@each_flow
def test_density_agrees_with_autograd(make, event, randomize, jacobian_log_det):
    flow, x, context = case(make, event, randomize, (3,))
    expected = torch.stack(
        [jacobian_log_det(lambda row, c=c: flow(row, c)[0], v[None])[0]
         for v, c in zip(x, context, strict=True)]
    )  # fmt: skip
    z, log_det = flow(x, context)
    assert_close(log_det, expected)
    base = (z, flow._embedded(context)) if flow.base.context_features else (z,)
    assert_close(flow.log_prob(x, context), flow.base.log_prob(*base) + expected)


@each_flow
def test_the_context_matters(make, event, randomize):
    flow, x, context = case(make, event, randomize, (4,))
    assert (flow.log_prob(x, context) - flow.log_prob(x, context.flip(0))).abs().min() > 1e-6


@each_flow
@pytest.mark.parametrize(
    ("batch", "contexts"),
    [
        ((4,), (4,)), ((4,), ()), ((4,), (1,)), ((), ()), ((1,), (1,)), ((2, 3), (2, 3)),
        ((2, 3), ()), ((2, 3), (2, 1)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3, 2), (2, 1, 1)),
        ((2, 3, 2), (2, 3, 1)), ((2, 1, 2), (2, 1, 1)), ((2, 3, 2), (2, 1, 2)),
    ],
)  # fmt: skip
def test_contexts_broadcast_to_the_data(make, event, randomize, batch, contexts):
    flow, x, context = case(make, event, randomize, batch, contexts)
    each = context.expand(*batch, *flow.context_shape)
    rows = [
        flow.log_prob(v, c)
        for v, c in zip(x.reshape(-1, *event), each.reshape(-1, *flow.context_shape), strict=True)
    ]
    assert_close(flow.log_prob(x, context), torch.stack(rows).reshape(batch))
    z, log_det = flow(x, context)
    back, log_det_back = flow.inverse(z, context)
    assert_close(back, x)
    assert_close(log_det_back, -log_det)


@each_flow
def test_empty_batches(make, event):
    flow = make().eval()
    shape = flow.context_shape
    for x, c in (((0,), (0,)), ((0,), ()), ((3, 0), (3, 1)), ((0, 3), (0, 1)), ((0, 3), (3,))):
        assert flow.log_prob(torch.randn(*x, *event), torch.randn(*c, *shape)).shape == x
        assert flow.inverse(*flow_at(flow, x, c, event))[0].shape == (*x, *event)
    assert flow.sample(0, torch.randn(2, *shape)).shape == (2, 0, *event)
    assert flow.sample(5, torch.randn(0, *shape)).shape == (0, 5, *event)


def flow_at(flow, batch, contexts, event):
    context = torch.randn(*contexts, *flow.context_shape)
    return flow(torch.randn(*batch, *event), context)[0], context


class Closed(nn.Module):
    """A conditioner at a fixed context: an ordinary network of the identity channels."""

    def __init__(self, network, context):
        super().__init__()
        self.network, self.context = network, context

    def forward(self, kept):
        return self.network(kept, self.context.expand(len(kept), -1))


@pytest.mark.parametrize("features", [FEATURES, 20])
def test_vectors_at_a_fixed_context_are_an_unconditional_flow(features, randomize):
    flow, x, context = case(
        lambda: realnvp(5, layers=4, hidden=(6, 7), context=features), (5,), randomize, (6,), (2,)
    )
    got = flow.log_prob(x[None].expand(2, 6, 5), context[:, None])
    for k in range(2):
        closed = copy.deepcopy(flow)
        plain = []
        for layer in closed.bijection.bijections:
            if isinstance(layer, AffineCoupling):
                network = Closed(layer.conditioner, context[k : k + 1])
                layer = AffineCoupling(network, transform=layer.transform)
            plain.append(layer)
        other = Flow(Compose(plain), flow.base).eval()
        assert other.context_features == 0
        assert_close(other.log_prob(x), got[k])
        assert_close(other.log_prob(x), flow.log_prob(x, context[k]))
        assert_close(other.inverse(x)[0], flow.inverse(x, context[k])[0])


def test_images_at_a_fixed_context_are_an_unconditional_flow(randomize):
    """The context's share of a convolution is a bias."""
    flow, x, context = case(*FLOWS["glow"], randomize, (6,), (2,))
    plain = glow((2, 4, 4), levels=2, steps=2, hidden=6, dequantize=False, base="vmf").double()
    for k in range(2):
        state = flow.state_dict()
        for key in [key for key in state if key.endswith(".context.weight")]:
            bias = key.replace("context.weight", "bias")
            state[bias] = state[bias] + state.pop(key) @ context[k]
        plain.load_state_dict(state)
        plain.eval()
        assert_close(flow.log_prob(x, context[k]), plain.log_prob(x))
        assert_close(flow.log_prob(x, context[k].expand(6, -1)), plain.log_prob(x))
        assert_close(flow.inverse(x.flatten(1), context[k])[0], plain.inverse(x.flatten(1))[0])


@each_flow
@pytest.mark.parametrize(("batch", "contexts"), [((2,), (2,)), ((4,), ()), ((2, 2), (2, 1))])
def test_gradients_to_context_data_and_parameters(make, event, randomize, batch, contexts):
    flow, x, context = case(make, event, randomize, batch, contexts)
    x, context = x.requires_grad_(), context.requires_grad_()
    names, parameters = zip(*flow.named_parameters(), strict=True)

    def log_prob(x, context, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(
            Density(flow), {f"flow.{k}": v for k, v in given.items()}, (x, context)
        )

    assert torch.autograd.gradcheck(log_prob, (x, context, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(
        lambda x, context: flow.log_prob(x, context), (x, context), fast_mode=True
    )


@each_flow
def test_draws(make, event, randomize):
    flow, _, context = case(make, event, randomize, (3,))
    for contexts, shape, expected in (
        (context, 4, (3, 4)), (context, (), (3,)), (context, (2, 4), (3, 2, 4)),
        (context[0], 4, (4,)), (context[0], (), ()), (context[None], 2, (1, 3, 2)),
    ):  # fmt: skip
        assert flow.sample(shape, contexts).shape == (*expected, *event)
        for draw in (flow.sample_and_log_prob, flow.rsample_and_log_prob):
            x, log_prob = draw(shape, contexts)
            assert x.shape == (*expected, *event)
            assert log_prob.shape == expected
            ones = len(expected) - (contexts.ndim - len(flow.context_shape))
            beside = contexts.reshape(
                *contexts.shape[: contexts.ndim - len(flow.context_shape)], *[1] * ones,
                *flow.context_shape,
            )  # fmt: skip
            assert_close(log_prob, flow.log_prob(x, beside))
    torch.manual_seed(1)
    first = flow.sample(4, context)
    torch.manual_seed(1)
    assert torch.equal(flow.sample_and_log_prob(4, context)[0], first)
    torch.manual_seed(1)
    drawn = flow.rsample_and_log_prob(4, context.requires_grad_())[0]
    assert torch.equal(drawn, first)
    assert not first.requires_grad
    assert torch.autograd.grad(drawn.sum(), context)[0].abs().sum() > 0


def test_draws_follow_their_context():
    base = ConditionalNormal(2, 1)
    flow = Flow(Compose([Shift2()]), base)
    with torch.no_grad():
        base.network[0].weight.copy_(torch.tensor([[1.0], [2.0], [0.5], [0.0]]))
    context = torch.tensor([[-1.0], [0.0], [2.0]])
    x = flow.sample(20_000, context)
    assert_close(x.mean(1), context * torch.tensor([0.0, 1.0]), atol=0.08, rtol=0)
    scales = torch.cat([(0.5 * context).exp(), torch.ones(3, 1)], 1)
    assert_close(x.std(1), scales, atol=0, rtol=0.03)


class Shift2(Bijection):
    context_features = 1

    def forward(self, x, context):
        return x + context, constant_log_det(x, 0.0)

    def inverse(self, z, context):
        return z - context, constant_log_det(z, 0.0)


class Counted(nn.Module):
    """An embedding of images (1, 2, 2) that counts what it is given."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, FEATURES)
        self.seen = []

    def forward(self, raw):
        self.seen.append(tuple(raw.shape))
        return self.linear(raw.flatten(1))


def test_the_embedding_runs_once_on_the_contexts_as_given():
    embedding = Counted()
    flow = realnvp(
        4, layers=2, hidden=6, context=FEATURES, embedding=embedding, context_shape=(1, 2, 2),
        base=ConditionalNormal(4, FEATURES),
    ).eval()  # fmt: skip
    context, x = torch.randn(3, 1, 2, 2), torch.randn(3, 4)
    for call in (
        lambda: flow.sample(50, context),
        lambda: flow.sample_and_log_prob(50, context),
        lambda: flow.rsample_and_log_prob((5, 10), context),
        lambda: flow.log_prob(torch.randn(3, 50, 4), context[:, None]),
        lambda: flow.bits_per_dim(x, context),
        lambda: flow(x, context),
        lambda: flow.inverse(x, context),
        lambda: flow.latent_path(x, x, 0.5, context=context),
        lambda: flow.interpolate(x, x, torch.linspace(0, 1, 9), context=context),
    ):
        call()
        assert embedding.seen == [(3, 1, 2, 2)]
        embedding.seen.clear()
    flow.log_prob(torch.randn(7, 4), context[0])
    assert embedding.seen == [(1, 1, 2, 2)]


def test_classes_as_contexts():
    embedding = nn.Embedding(5, FEATURES)
    flow = glow(
        (1, 8, 8), levels=2, steps=2, hidden=6, context=FEATURES, embedding=embedding,
        context_shape=(), base="normal",
    )  # fmt: skip
    images, labels = torch.randint(256, (8, 1, 8, 8), dtype=torch.uint8), torch.randint(5, (8,))
    flow.bits_per_dim(images, labels).mean().backward()
    assert all(p.grad is not None for p in flow.parameters())
    flow.eval()
    assert flow.sample(2, torch.arange(5)).shape == (5, 2, 1, 8, 8)
    assert flow.sample(2, torch.tensor(4)).shape == (2, 1, 8, 8)
    z, _ = flow(images, labels)
    assert torch.equal(flow.inverse(z, labels)[0], images.float())
    with pytest.raises(TypeError, match="sample_and_log_prob: the flow's data are discrete"):
        flow.sample_and_log_prob(2, labels)


@each_flow
def test_paths_keep_the_context_of_their_ends(make, event, randomize):
    flow, a, context = case(make, event, randomize, (3,))
    b, t = torch.randn_like(a), torch.linspace(0, 1, 5, dtype=torch.float64)
    for of_ends in (context, context[0]):
        walk = flow.interpolate(a, b, t, context=of_ends)
        assert walk.shape == (3, 5, *event)
        assert_close(walk[:, 0], a)
        assert_close(walk[:, -1], b)
        for k in range(5):
            assert_close(flow.interpolate(a, b, float(t[k]), context=of_ends), walk[:, k])
        one = of_ends if of_ends.ndim == len(flow.context_shape) else of_ends[1]
        assert_close(flow.interpolate(a[1], b[1], t, context=one), walk[1])
        latents = flow.latent_path(a, b, t, context=of_ends)
        beside = of_ends.unsqueeze(1) if of_ends is context else of_ends
        assert_close(flow.inverse(latents, beside)[0], walk)
    own = flow.interpolate(
        a, b, t, lambda u, v, t: flow.latent_path(a, b, t, None, context), context
    )
    assert_close(own, flow.interpolate(a, b, t, context=context))


def test_repr_names_the_context():
    text = repr(realnvp(4, layers=1, hidden=4, context=3))
    assert "context_shape=(3,)" in text
    assert "context_features=3" in text
    assert "context" not in repr(realnvp(4, layers=1, hidden=4))
    assert "context_features=2" in repr(ActNorm(4, context_features=2))
    assert "context_features=2" in repr(ConditionalNormal(4, 2))
    assert "context" in repr(conv_conditioner(2, 4, context=3))


@pytest.mark.parametrize("base", [None, "conditional"])
def test_training_learns_a_conditional_density(base):
    """y | c ~ N((c, c^2), e^c): the flow comes near the entropy, which needs the context."""
    torch.manual_seed(0)

    def draw(n):
        c = 2 * torch.rand(n, 1) - 1
        loc = torch.cat([c, c.square()], 1)
        return loc + c.exp() * torch.randn(n, 2), c

    def entropy(c):
        return 1 + math.log(2 * math.pi) + 2 * c.mean()

    base = "normal" if base is None else ConditionalNormal(2, 1, hidden=(16,))
    flow = realnvp(2, layers=4, hidden=(32, 32), context=1, base=base)
    x, c = draw(2048)
    start = -flow.log_prob(x, c).mean()
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        (-flow.log_prob(*draw(512)).mean()).backward()
        optimizer.step()
    flow.eval()
    x, c = draw(8192)
    with torch.no_grad():
        end = -flow.log_prob(x, c).mean()
        shuffled = -flow.log_prob(x, c[torch.randperm(len(c))]).mean()
    assert end < entropy(c) + 0.1 < start - 0.1
    assert shuffled > end + 0.5
    drawn = flow.sample(8192, torch.tensor([[-0.8], [0.8]]))
    assert_close(drawn.mean(1), torch.tensor([[-0.8, 0.64], [0.8, 0.64]]), rtol=0, atol=0.25)
    assert_close(drawn.std(1).mean(1), torch.tensor([-0.8, 0.8]).exp(), rtol=0.2, atol=0)

"""Contexts under torch.compile, torch.func, autocast, recomputation; conditioners; training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.bases import ConditionalNormal, StandardNormal
from flowkernels.bijections import (
    ActNorm,
    AffineCoupling,
    Compose,
    ContextConv2d,
    Flip,
    GlowStep,
    GlowSteps,
    Inverse,
    Multiscale,
    ReluNetwork,
    conv_conditioner,
    mlp_conditioner,
)
from flowkernels.bijections import context as contexts
from flowkernels.flows import realnvp

from .test_context import Conditioner, Shift, each_flow

patterns = pytest.mark.parametrize("groups", [6, 3, 1], ids=["each", "groups", "one"])


def started(make, event, groups, dtype=torch.float32):
    """A flow whose couplings are not the identity, data (groups, 6 / groups) and contexts."""
    torch.manual_seed(0)
    flow = make().to(dtype)
    x = torch.randn(groups, 6 // groups, *event, dtype=dtype)
    context = torch.randn(groups, 1, *flow.context_shape, dtype=dtype)
    flow.log_prob(x, context)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return flow, x, context


def gradients(flow, x, context):
    x, context = x.clone().requires_grad_(), context.clone().requires_grad_()
    loss = flow.log_prob(x, context).mean()
    return loss.detach(), *torch.autograd.grad(loss, (x, context, *flow.parameters()))


@patterns
@each_flow
def test_recomputed_gradients(make, event, groups):
    flow, x, context = started(make, event, groups, torch.float64)
    want = gradients(flow, x, context)
    flow.recompute = True
    reversible = [m for m in flow.modules() if getattr(m, "recompute", False)]
    assert len(reversible) > 1 or event == (4,)  # the flow itself, and at least one chain
    for got, expected in zip(gradients(flow, x, context), want, strict=True):
        assert_close(got, expected, rtol=1e-9, atol=1e-10)
    flow.zero_grad()
    flow.log_prob(x, context).mean().backward()  # a context without a gradient
    for p, expected in zip(flow.parameters(), want[3:], strict=True):
        assert_close(p.grad, expected, rtol=1e-9, atol=1e-10)


def test_recomputation_frees_the_activations_of_a_conditional_flow():
    def kept(layers, recompute):
        flow = realnvp(6, layers=layers, hidden=32, context=4, recompute=recompute)
        x, context = torch.randn(64, 6), torch.randn(64, 4, requires_grad=True)
        own = {p.untyped_storage().data_ptr() for p in (*flow.parameters(), context)}
        sizes = {}

        def pack(t):
            storage = t.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = flow.log_prob(x, context).mean()
        loss.backward()
        return sum(sizes.values())

    assert kept(12, True) < 1.3 * kept(4, True)
    assert kept(12, False) > 2.5 * kept(4, False)


@patterns
@each_flow
def test_compiles_without_graph_breaks(make, event, groups):
    flow, x, context = started(make, event, groups)
    torch._dynamo.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager")
    outcomes = []
    for log_prob in (flow.log_prob, compiled):
        flow.zero_grad()
        own = context.clone().requires_grad_()
        value = log_prob(x, own)
        value.sum().backward()
        outcomes.append([value, own.grad, *(p.grad.clone() for p in flow.parameters())])
    for expected, got in zip(*outcomes, strict=True):
        assert_close(got, expected, rtol=1e-4, atol=1e-5)
    flow.eval()
    shape = (groups, 6 // groups)
    sample = torch.compile(flow.sample, fullgraph=True, backend="aot_eager")
    assert sample(6 // groups, context[:, 0]).shape == (*shape, *event)


@each_flow
def test_torch_func(make, event, randomize):
    torch.manual_seed(0)
    flow = randomize(make().double())
    x = torch.randn(5, *event, dtype=torch.float64)
    context = torch.randn(5, *flow.context_shape, dtype=torch.float64, requires_grad=True)
    want = flow.log_prob(x, context)
    (score,) = torch.autograd.grad(want.sum(), context)
    given = context.detach()
    vmap = torch.func.vmap
    assert_close(vmap(flow.log_prob)(x, given), want)
    assert_close(vmap(torch.func.grad(flow.log_prob, argnums=1))(x, given), score)
    for x_dim, context_dim, pair in ((0, None, (x, given[0])), (None, 0, (x[0], given))):
        got = vmap(flow.log_prob, in_dims=(x_dim, context_dim))(*pair)
        expected = [
            flow.log_prob(x[i if x_dim == 0 else 0], given[i if context_dim == 0 else 0])
            for i in range(5)
        ]
        assert_close(got, torch.stack(expected))
    # a batch for each context
    several = torch.randn(5, 4, *event, dtype=torch.float64)
    assert_close(vmap(flow.log_prob)(several, given), flow.log_prob(several, given[:, None]))
    tangent = torch.randn_like(given)
    _, slope = torch.func.jvp(lambda c: flow.log_prob(x, c), (given,), (tangent,))
    assert_close(slope.sum(), (score * tangent).sum())


@patterns
@each_flow
def test_bfloat16_autocast_stays_close(make, event, groups):
    flow, x, context = started(make, event, groups)
    flow.eval()
    want = flow.log_prob(x, context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = flow.log_prob(x, context)
        z, _ = flow(x, context)
        back, _ = flow.inverse(z, context)
    assert got.dtype == torch.float32
    assert 0 < (got - want).abs().max() < 0.1 * want.abs().max()
    assert_close(back.float(), x, rtol=0, atol=0.1)
    flow.train().zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = flow.log_prob(x, context).mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@each_flow
def test_other_dtypes(make, event, dtype):
    flow, x, context = started(make, event, 3)
    flow.eval()
    want = flow.log_prob(x, context)
    got = flow.to(dtype).log_prob(x.to(dtype), context.to(dtype))
    assert got.dtype == torch.promote_types(dtype, torch.float32)
    assert_close(got.float(), want, rtol=0.1, atol=0.1)
    assert flow.sample(2, context[0].to(dtype)).dtype == dtype


CONDITIONERS = {
    "mlp": (lambda: mlp_conditioner(4, 6, (8, 7), context=3), (4,)),
    "mlp wide": (lambda: mlp_conditioner(4, 6, (8,), context=40), (4,)),
    "linear": (lambda: mlp_conditioner(4, 6, (), context=3), (4,)),
    "linear wide": (lambda: mlp_conditioner(4, 6, (), context=40), (4,)),
    "nothing kept": (lambda: mlp_conditioner(0, 6, (8,), context=3), (0,)),
    "other layers": (
        lambda: named(ReluNetwork(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 6)), 3), (4,)
    ),
    "conv": (lambda: conv_conditioner(2, 4, 5, context=3), (2, 4, 3)),
    "layer": (lambda: ContextConv2d(2, 4, 3, context_features=3), (2, 5, 4)),
}  # fmt: skip


def named(network, features):
    network.context_features = features
    return network


@patterns
@pytest.mark.parametrize(("make", "event"), CONDITIONERS.values(), ids=CONDITIONERS)
def test_conditioners_share_contexts(make, event, groups, randomize):
    network = randomize(make().double())
    x = torch.randn(6, *event, dtype=torch.float64)
    context = torch.randn(groups, network.context_features, dtype=torch.float64)
    expected = torch.cat([network(x[i : i + 1], context[i * groups // 6][None]) for i in range(6)])
    assert_close(network(x, context), expected)
    assert_close(network(x, contexts.each_row(context, 6)), expected)
    assert network(x[:0], context).shape == (0, *expected.shape[1:])
    assert network(x[:0], context[:0]).shape == (0, *expected.shape[1:])
    for wrong in (None, context[:, :-1], torch.randn(4, context.shape[1]), context[0]):
        with pytest.raises((TypeError, ValueError), match=r"^\w+: context must .*got "):
            network(x, wrong)


@patterns
def test_the_first_layer_sees_a_shared_context_once(groups):
    """Wide contexts are not copied to the samples, narrow ones may be."""
    network = mlp_conditioner(4, 6, (8,), context=512)
    x, context = torch.randn(6 * 50, 4), torch.randn(groups, 512)
    with torch.profiler.profile(profile_memory=True) as profile:
        network(x, context)
    taken = sum(max(e.self_cpu_memory_usage, 0) for e in profile.events())
    copied = 4 * 300 * 512
    assert (taken < copied / 4) == (groups < 300)


def test_a_new_conditional_coupling_is_the_identity():
    x, context = torch.randn(5, 6), torch.randn(5, 2)
    layer = AffineCoupling(mlp_conditioner(3, 6, context=2))
    assert torch.equal(layer(x, context)[0], x)
    images = torch.randn(5, 4, 3, 3)
    layer = AffineCoupling(conv_conditioner(2, 4, 8, context=2))
    assert torch.equal(layer(images, context)[0], images)


def test_hooks_on_a_conditional_network_run(randomize):
    network = randomize(mlp_conditioner(2, 4, (5,), context=3))
    coupling, x, seen = AffineCoupling(network), torch.randn(6, 4), []
    want = [coupling(x, c)[0] for c in (torch.ones(6, 3), torch.ones(1, 3))]
    handle = network[0].register_forward_hook(lambda *_: seen.append(1))
    got = [coupling(x, c)[0] for c in (torch.ones(6, 3), torch.ones(1, 3))]
    handle.remove()
    assert len(seen) == 2
    assert_close(got, want)
    network.register_forward_hook(lambda *_: seen.append(2))
    coupling(x, torch.ones(1, 3))
    assert seen == [1, 1, 2]


def test_one_context_for_all_is_one_fused_op(monkeypatch):
    calls = []
    fused = ops.affine_coupling_mlp
    monkeypatch.setattr(
        ops, "affine_coupling_mlp", lambda *a, **k: calls.append(1) or fused(*a, **k)
    )
    coupling = AffineCoupling(mlp_conditioner(2, 4, context=3))
    coupling(torch.randn(6, 4), torch.randn(1, 3))
    assert calls == [1]
    coupling(torch.randn(6, 4), torch.randn(6, 3))
    assert calls == [1]


def coupling(channels=4):
    half = channels // 2
    return AffineCoupling(conv_conditioner(half, 2 * half, 5, context=3))


LAYERS = {
    "ActNorm": (lambda: ActNorm(4, context_features=3), (4, 2, 2)),
    "AffineCoupling": (coupling, (4, 2, 2)),
    "Compose": (lambda: Compose([coupling(), Flip(), ActNorm(4)]), (4, 2, 2)),
    "GlowStep": (lambda: GlowStep(4, coupling()), (4, 2, 2)),
    "GlowSteps": (
        lambda: GlowSteps([GlowStep(4, coupling()),
                           GlowStep(4, AffineCoupling(conv_conditioner(2, 4, 5)))]),
        (4, 2, 2),
    ),
    "Inverse": (lambda: Inverse(coupling()), (4, 2, 2)),
    "Multiscale": (lambda: Multiscale([coupling(), Flip()], (1, 4, 4)), (1, 4, 4)),
}  # fmt: skip


@patterns
@pytest.mark.parametrize("name", LAYERS)
def test_bijections(name, groups, randomize, jacobian_log_det):
    make, event = LAYERS[name]
    layer = randomize(make().double())
    x = torch.randn(6, *event, dtype=torch.float64)
    context = torch.randn(groups, 3, dtype=torch.float64)
    z, log_det = layer(x, context)
    assert log_det.shape == (6,)
    assert z.is_contiguous()
    back, log_det_back = layer.inverse(z, context)
    assert_close(back, x)
    assert_close(log_det_back, -log_det)
    each = contexts.each_row(context, 6)
    expected = [
        jacobian_log_det(lambda row, c=c: layer(row, c[None])[0], v[None])[0]
        for v, c in zip(x, each, strict=True)
    ]
    assert_close(log_det, torch.stack(expected))
    assert_close(layer(x, each)[0], z)
    assert layer(x[:0], context)[1].shape == layer(x[:0], context[:0])[1].shape == (0,)


@pytest.mark.parametrize("name", LAYERS)
def test_bijections_name_a_wrong_context(name):
    make, event = LAYERS[name]
    layer, x = make().eval(), torch.randn(6, *event)
    z, _ = layer(x, torch.randn(6, 3))
    wrong = (None, "text", torch.randn(6, 2), torch.randn(4, 3), torch.randn(0, 3), torch.randn(3))
    for value in wrong:
        for call, given in ((layer, x), (layer.inverse, z)):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: context must .*got "):
                call(given, value)


UNREAD = {
    "ActNorm": lambda: ActNorm(4),
    "AffineCoupling": lambda: AffineCoupling(mlp_conditioner(2, 4)),
    "Compose": lambda: Compose([Flip()]),
    "GlowStep": lambda: GlowStep(4, AffineCoupling(conv_conditioner(2, 4))),
    "GlowSteps": lambda: GlowSteps([GlowStep(4, AffineCoupling(conv_conditioner(2, 4)))]),
    "Inverse": lambda: Inverse(Flip()),
    "Multiscale": lambda: Multiscale([Flip()], (1, 4, 4)),
}


@pytest.mark.parametrize("name", UNREAD)
def test_bijections_name_a_superfluous_context(name):
    shape = {"Multiscale": (2, 1, 4, 4), "GlowStep": (2, 4, 2, 2), "GlowSteps": (2, 4, 2, 2)}
    layer, x = UNREAD[name]().eval(), torch.randn(shape.get(name, (2, 4)))
    for call, given in ((layer, x), (layer.inverse, layer(x)[0])):
        with pytest.raises(
            TypeError, match=rf"^{name}: context must be None, .*got shape \(2, 3\)"
        ):
            call(given, torch.randn(2, 3))


def test_a_coupling_agrees_with_its_conditioner():
    for network, given in (
        (mlp_conditioner(2, 4, context=3), 2),
        (mlp_conditioner(2, 4), 3),
        (Shift(4), 2),
    ):
        with pytest.raises(ValueError, match=r"^AffineCoupling: context_features must be the cond"):
            AffineCoupling(network, context_features=given)
    assert AffineCoupling(Conditioner(2, 4), context_features=3).context_features == 3
    assert AffineCoupling(Conditioner(2, 4)).context_features == 0
    assert AffineCoupling(mlp_conditioner(2, 4, context=3)).context_features == 3


def test_a_conditional_actnorm_starts_as_any_other():
    x, context = 5 + 2 * torch.randn(64, 3, 4), torch.randn(64, 2)
    plain, layer = ActNorm(3), ActNorm(3, context_features=2)
    want = plain(x)
    assert_close(layer(x, context), want)
    assert_close(layer.inverse(*(want[0], context))[0], x)
    assert layer.initialized


def test_a_base_that_reads_a_context():
    base = ConditionalNormal(3, 2, hidden=(8,)).double()
    for p in base.parameters():
        nn.init.normal_(p, std=0.5)
    context, z = torch.randn(4, 2, dtype=torch.float64), torch.randn(5, 4, 3, dtype=torch.float64)
    law = base.as_distribution(context)
    assert_close(base.log_prob(z, context), law.log_prob(z))
    assert base.sample((5, 2), context).shape == (4, 5, 2, 3)
    assert base.sample(context=context[0]).shape == (3,)
    draws = base.sample(40_000, context)
    assert_close(draws.mean(1), law.mean, rtol=0, atol=0.05)
    assert_close(draws.std(1), law.stddev, rtol=0.03, atol=0)
    fresh = ConditionalNormal(3, 2)
    assert_close(fresh.log_prob(z.float(), context.float()), StandardNormal(3).log_prob(z.float()))


def test_a_base_names_a_wrong_context():
    base, plain = ConditionalNormal(3, 2), StandardNormal(3)
    z = torch.randn(4, 3)
    for wrong in (None, "text", torch.randn(4, 3), torch.tensor(1.0)):
        for call in (
            lambda c: base.log_prob(z, c), lambda c: base.sample(2, c),
            lambda c: base.rsample((2,), c), lambda c: base.path(z, z, 0.5, context=c),
            lambda c: base.as_distribution(c),
        ):  # fmt: skip
            with pytest.raises((TypeError, ValueError), match=r"^ConditionalNormal: context must "):
                call(wrong)
    for call in (plain.log_prob, plain.sample):
        with pytest.raises(TypeError, match=r"^StandardNormal: context must be None, .*got Tensor"):
            call(z if call == plain.log_prob else 2, torch.randn(4, 2))


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

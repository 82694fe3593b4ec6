"""Conditioners, bijections and bases that read a context."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.bases import ConditionalNormal, StandardNormal
from flowkernels.bijections import (
    ActNorm,
    AffineCoupling,
    ContextConv2d,
    ReluNetwork,
    conv_conditioner,
    mlp_conditioner,
)
from flowkernels.bijections import context as contexts

from .context_flows import LAYERS, patterns


def test_a_path_of_a_conditional_gaussian_is_a_standard_one():
    base = ConditionalNormal(3, 2).double()
    nn.init.normal_(base.network[0].weight)
    context = torch.randn(4, 2, dtype=torch.float64)
    e, f = torch.randn(2, 4, 3, dtype=torch.float64)
    loc, log_scale = base.loc_and_log_scale(context)
    t = torch.linspace(0, 1, 6, dtype=torch.float64)
    got = base.path(e * log_scale.exp() + loc, f * log_scale.exp() + loc, t, context=context)
    standard = StandardNormal(3).path(e, f, t)
    assert_close(got, standard * log_scale.exp()[:, None] + loc[:, None])


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
@pytest.mark.parametrize(("make", "event"), CONDITIONERS.values(), ids=CONDITIONERS)
def test_conditioners_take_a_context_of_autocast(make, event, groups, randomize):
    """As an embedding network returns it there."""
    network = randomize(make())
    x, context = torch.randn(6, *event), torch.randn(groups, network.context_features).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = network(x, context)
    assert_close(got.float(), network(x, context.float()), rtol=0.05, atol=0.05)


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

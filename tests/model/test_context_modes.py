"""Contexts under recomputation, torch.compile, torch.func, autocast, in other dtypes; state."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch.testing import assert_close

from flowkernels.flows import realnvp

from .context_flows import FLOWS, each_flow, patterns


@each_flow
def test_survives_state_dict_copy_pickle_and_save(make, event):
    torch.manual_seed(0)
    flow = make()
    x, context = torch.randn(16, *event), torch.randn(16, *flow.context_shape)
    flow.log_prob(x, context).mean().backward()
    with torch.no_grad():
        for p in flow.parameters():
            p.sub_(0.1 * p.grad)
    fresh, buffer = make(), io.BytesIO()
    fresh.load_state_dict(flow.state_dict())
    torch.save(flow, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=False)
    want = flow.log_prob(x, context)
    for twin in (fresh, copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), saved):
        assert torch.equal(twin.log_prob(x, context), want)
        assert twin.context_features == flow.context_features
        assert repr(twin) == repr(flow)


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


# Tracing takes seconds: one flow with every pattern of contexts, the others with one of them.
GROUPS = (1, 3, 6)
COMPILED = {(name, GROUPS[i % 3]) for i, name in enumerate(FLOWS)}
COMPILED |= {("realnvp", groups) for groups in GROUPS}


@pytest.mark.parametrize(("name", "groups"), sorted(COMPILED))
def test_compiles_without_graph_breaks(name, groups):
    make, event = FLOWS[name]
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

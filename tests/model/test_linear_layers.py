"""Random permutations, LU linear layers, standardisation; see test_bijections.py for the rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from flowkernels.bases import StandardNormal
from flowkernels.bijections import Compose, LULinear, Permutation, Standardize
from flowkernels.flows import Flow, realnvp


def test_random_permutations_mix_and_stay():
    for channels in (1, 2, 5, 64):
        layer = Permutation.random(channels, seed=7)
        assert sorted(layer.permutation.tolist()) == list(range(channels))
        assert torch.equal(Permutation.random(channels, seed=7).permutation, layer.permutation)
    assert layer.permutation.tolist() != list(range(64))
    assert not torch.equal(Permutation.random(64, seed=8).permutation, layer.permutation)
    torch.manual_seed(1)
    first = Permutation.random(64)
    assert not torch.equal(Permutation.random(64).permutation, first.permutation)
    torch.manual_seed(1)
    assert torch.equal(Permutation.random(64).permutation, first.permutation)
    state = torch.get_rng_state()
    Permutation.random(64, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    first.load_state_dict(layer.state_dict())
    x = torch.randn(3, 64)
    assert torch.equal(first(x)[0], layer(x)[0])
    with torch.device("meta"):
        assert Permutation.random(4, seed=1).permutation.is_meta


def test_lu_linear_is_the_product_of_its_factors(randomize):
    layer = LULinear(6)
    x = torch.randn(5, 6)
    assert_close(layer(x)[0], x, rtol=0, atol=1e-6)
    randomize(layer)
    lower, upper = layer.factors()
    assert torch.equal(lower, lower.tril()) and torch.equal(lower.diagonal(), torch.ones(6))
    assert torch.equal(upper, upper.triu()) and upper.diagonal().min() > 0
    z, log_det = layer(x)
    assert_close(z, x @ (lower @ upper).T + layer.bias)
    assert_close(log_det, torch.linalg.slogdet(lower @ upper).logabsdet.expand(5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x)[0], z)
        assert layer.inverse(z)[0].dtype == torch.float32


def test_lu_linear_stays_invertible():
    layer = LULinear(3)
    with torch.no_grad():
        layer.raw_diagonal.fill_(-1e4)
    x = torch.randn(4, 3)
    z, log_det = layer(x)
    assert_close(layer.inverse(z)[0], x)
    assert_close(log_det, torch.full((4,), 3 * torch.tensor(1e-3).log().item()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_of_half_precision_invert(dtype, randomize):
    for layer in (LULinear(4), Standardize(torch.ones(4), torch.full((4,), 2.0))):
        randomize(layer).to(dtype)
        x = torch.rand(3, 4, dtype=dtype)
        z, log_det = layer(x)
        assert z.dtype == dtype and log_det.dtype == torch.float32
        assert_close(layer.inverse(z)[0], x, rtol=0, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardize_takes_its_numbers_from_data(dtype):
    torch.manual_seed(0)
    data = torch.randn(500, 3, 2, dtype=dtype) * torch.tensor([[1.0, 1e-4], [5.0, 1e6], [1, 1]])
    data = data + torch.tensor([[0.0, 1.0], [-3.0, 1e7], [4.0, 0.0]])
    data[:, 2, 1] = 7.1
    layer = Standardize.of(data)
    z, log_det = layer(data)
    assert z.dtype == log_det.dtype == dtype
    assert_close(z.mean(0), torch.zeros(3, 2, dtype=dtype), rtol=0, atol=2e-3)
    want = torch.ones(3, 2, dtype=dtype)
    want[2, 1] = 0  # the constant
    assert_close(z.std(0, correction=0), want, rtol=0, atol=2e-3)
    assert layer.scale[2, 1] == 1
    assert_close(log_det, -layer.scale.log().sum().expand(500))
    one = Standardize.of(data, shared=True)
    assert one.loc.shape == (3, 2) and len(one.loc.unique()) == len(one.scale.unique()) == 1
    assert_close(one.scale[0, 0], data.double().std(correction=0).to(dtype))
    assert Standardize.of(data[:1]).scale.eq(1).all()


def test_standardize_finds_small_variations_of_large_numbers():
    times = 1.7e9 + 10 * torch.randn(1000, 1, dtype=torch.float64)
    assert_close(Standardize.of(times)(times)[0].std(correction=0).item(), 1.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.randn(0, 3), r"data must have shape \(N, \*event\) and values, got \(0, 3\)"),
        (torch.tensor(1.0), r"data must have shape .*got \(\)"),
        (torch.randn(3, 2, device="meta"), "data must have .*got .*without values"),
        (torch.tensor([[1.0], [math.nan]]), "data must be finite, got nan or inf"),
        (torch.ones(3, 2).long(), r"data must be floating point, got torch.int64"),
        ([[1.0]], "data must be a torch.Tensor, got list"),
    ],
)
def test_standardize_names_wrong_data(data, message):
    with pytest.raises((ValueError, TypeError), match=f"^Standardize: {message}"):
        Standardize.of(data)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Permutation.random(0), "Permutation: channels must be at least 1, got 0"),
        (lambda: Permutation.random(3, seed=-1), "Permutation: seed must be at least 0, got -1"),
        (lambda: LULinear(3)(torch.zeros(2, 4)), r"LULinear: .*\(B, 3, \*S\), got \(2, 4\)"),
        (lambda: Standardize(torch.ones(3), torch.ones(2)), r"scale must .* \(3,\).*got \(2,\)"),
        (lambda: Standardize(torch.ones(2), torch.zeros(2)), "scale must be positive .*got 0"),
        (
            lambda: Standardize(torch.ones(2), torch.ones(2))(torch.ones(2, 3)),
            r"x must have shape \(B, 2\), got \(2, 3\)",
        ),
    ],
)
def test_rejects_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_a_flow_of_these_layers(jacobian_log_det, randomize):
    """In one chain with couplings: density, compile, vmap and recomputation."""
    torch.manual_seed(0)
    data = 50 + 7 * torch.randn(64, 6, dtype=torch.float64)

    def block(seed):
        return [Permutation.random(6, seed=seed), LULinear(6)]

    coupling = realnvp(6, layers=2, hidden=8, actnorm=False).bijection
    chain = Compose([*block(1), coupling, *block(2)])
    flow = Flow(Compose([Standardize.of(data.float()), randomize(chain)]), StandardNormal(6))
    flow = flow.double()
    x = data[:5].clone().requires_grad_()
    expected = jacobian_log_det(lambda row: flow(row)[0], x.detach())
    assert_close(flow(x)[1], expected)
    log_prob = flow.log_prob(x)
    wanted = (x, *flow.parameters())
    want = torch.autograd.grad(log_prob.sum(), wanted)
    flow.recompute = True
    for got, other in zip(torch.autograd.grad(flow.log_prob(x).sum(), wanted), want, strict=True):
        assert_close(got, other, rtol=1e-8, atol=1e-9)
    flow.recompute = False
    assert_close(torch.func.vmap(flow.log_prob)(x.detach()), log_prob)
    torch._dynamo.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), log_prob)
    assert_close(flow.inverse(flow(x)[0])[0], x)

"""Masked networks, autoregressive bijections and the flows made of them."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.bijections import (
    AffineAutoregressive,
    MaskedLinear,
    MaskedNetwork,
    SplineAutoregressive,
)
from flowkernels.flows import maf
from flowkernels.ops.rational_quadratic_spline import parameter_count

# features, hidden widths, context, input order
NETWORKS: dict[str, tuple[int, tuple[int, ...], int, tuple[int, ...] | None]] = {
    "one feature": (1, (4,), 0, None),
    "one feature, context": (1, (4, 4), 2, None),
    "two features": (2, (3,), 0, None),
    "no hidden layer": (4, (), 0, (2, 0, 3, 1)),
    "no hidden layer, context": (3, (), 2, None),
    "narrow": (9, (3, 4), 0, None),
    "one unit": (6, (1,), 0, None),
    "wide": (5, (17, 23), 0, (4, 3, 2, 1, 0)),
    "three layers": (4, (9, 3, 7), 3, (1, 3, 0, 2)),
    "narrow, context": (7, (3, 5), 1, None),
}
each_network = pytest.mark.parametrize("name", NETWORKS)
each_grouped = pytest.mark.parametrize("grouped", [False, True], ids=["apart", "grouped"])


def network_of(name: str, outputs: int = 2, grouped: bool = False) -> MaskedNetwork:
    features, hidden, context, order = NETWORKS[name]
    torch.manual_seed(0)
    network = MaskedNetwork(
        features, outputs, hidden, context=context, input_order=order, grouped=grouped
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    return network.double()


def data_of(network: MaskedNetwork, rows: int = 5) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(1)
    x = torch.randn(rows, network.features, dtype=torch.float64)
    c = network.context_features
    return x, torch.randn(rows, c, dtype=torch.float64) if c else None


@each_network
@each_grouped
def test_the_jacobian_is_strictly_triangular_in_the_input_order(name: str, grouped: bool) -> None:
    network = network_of(name, 3, grouped)
    x, context = data_of(network)
    order = torch.tensor(network.input_order)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x, context).sum(0), x)
    of_rows = jacobian.permute(1, 0, 2)  # rows, outputs, features
    split = of_rows.unflatten(1, (-1, 3) if grouped else (3, -1))
    by_feature = split if grouped else split.transpose(1, 2)
    ordered = by_feature[:, order][..., order].abs().amax((0, 2))
    assert torch.equal(ordered.triu(), torch.zeros_like(ordered))


def test_wide_networks_see_every_feature_before() -> None:
    torch.manual_seed(0)
    network = MaskedNetwork(6, 1, (40, 40)).double()
    nn.init.normal_(network.layers[-1].weight)
    # Positive weights: no ReLU is off and nothing cancels.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    x = torch.rand(1, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(network, x).reshape(6, 6)
    assert torch.equal(jacobian > 0, torch.ones(6, 6).tril(-1).bool())


def test_every_output_sees_the_context() -> None:
    network = network_of("three layers")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    x, context = data_of(network)
    assert context is not None
    seen = torch.autograd.functional.jacobian(lambda c: network(x.abs(), c).sum(0), context.abs())
    assert (seen > 0).all()


@each_network
def test_degrees_are_sorted_and_spread(name: str) -> None:
    network = network_of(name)
    first = 0 if network.context_features or network.features == 1 else 1
    last = network.features - 1
    for width, degrees in zip(network.hidden, network.degrees, strict=True):
        assert len(degrees) == width
        assert list(degrees) == sorted(degrees)
        assert degrees[0] == first
        assert degrees[-1] == last or width == 1
        if width >= last - first + 1:
            counts = [degrees.count(d) for d in range(first, last + 1)]
            assert max(counts) - min(counts) <= 1


def plain_made(network: MaskedNetwork, x: Tensor, context: Tensor | None) -> Tensor:
    """The network with masks made one weight at a time, from the definition."""
    degree_of = {f: k + 1 for k, f in enumerate(network.input_order)}
    before = [degree_of[f] for f in range(network.features)] + [0] * network.context_features
    h = x if context is None else torch.cat([x, context], 1)
    n, count = network.outputs, network.features * network.outputs
    features = [i // n if network.grouped else i % network.features for i in range(count)]
    for i, layer in enumerate(network.layers):
        assert isinstance(layer, MaskedLinear)
        is_last = i + 1 == len(network.layers)
        own = [degree_of[f] - 1 for f in features] if is_last else network.degrees[i]
        weight = layer.weight.detach().clone()
        for j, k in itertools.product(range(weight.shape[0]), range(weight.shape[1])):
            if before[k] > own[j]:
                weight[j, k] = 0
        h = h @ weight.T + layer.bias
        h = h if is_last else h.relu()
        before = list(own)
    return h


@each_network
@each_grouped
@pytest.mark.parametrize("order", [None, "scale_then_shift", "shift_then_scale"])
def test_a_layer_equals_a_plain_made(name: str, grouped: bool, order: str | None) -> None:
    """By default, the shift comes first."""
    network = network_of(name, grouped=grouped)
    options = {} if order is None else {"order": order}
    layer = AffineAutoregressive(network, scale_fn="tanh", bound=1.5, **options)
    x, context = data_of(network)
    params = plain_made(network, x, context)
    split = (params[:, ::2], params[:, 1::2]) if grouped else params.chunk(2, 1)
    log_s = 1.5 * torch.tanh(split[1] / 1.5)
    z, log_det = layer(x, context)
    scale_first = x * log_s.exp() + split[0]
    want = scale_first if order == "scale_then_shift" else (x + split[0]) * log_s.exp()
    assert_close(z, want, rtol=1e-12, atol=1e-12)
    assert_close(log_det, log_s.sum(1), rtol=1e-12, atol=1e-12)


@each_network
@each_grouped
@pytest.mark.parametrize("order", ["scale_then_shift", "shift_then_scale"])
def test_the_inverse_undoes_forward(name: str, grouped: bool, order: str) -> None:
    network = network_of(name, grouped=grouped)
    layer = AffineAutoregressive(network, scale_fn="tanh", bound=0.5, order=order)
    x, context = data_of(network)
    z, log_det = layer(x, context)
    back, back_log_det = layer.inverse(z, context)
    # Each feature amplifies the errors of those before it.
    assert_close(back, x, rtol=1e-9, atol=1e-9)
    assert_close(back_log_det, -log_det, rtol=1e-9, atol=1e-9)


@each_network
def test_log_det_is_that_of_the_jacobian(name: str, jacobian_log_det) -> None:
    network = network_of(name)
    layer = AffineAutoregressive(network, scale_fn="tanh", bound=0.5)
    x, context = data_of(network)
    rows = [context[i : i + 1] if context is not None else None for i in range(len(x))]
    want = torch.cat(
        [jacobian_log_det(lambda r, c=c: layer(r, c)[0], x[i : i + 1]) for i, c in enumerate(rows)]
    )
    assert_close(layer(x, context)[1], want, rtol=1e-12, atol=1e-12)
    z, _ = layer(x, context)
    want = torch.cat(
        [
            jacobian_log_det(lambda r, c=c: layer.inverse(r, c)[0], z[i : i + 1])
            for i, c in enumerate(rows)
        ]
    )
    assert_close(layer.inverse(z, context)[1], want, rtol=1e-9, atol=1e-9)


def spline_layer(name: str, **options) -> SplineAutoregressive:
    network = network_of(name, parameter_count(options["bins"], options["boundary"]), True)
    with torch.no_grad():  # steep splines would amplify rounding from feature to feature
        for parameter in network.parameters():
            parameter.mul_(0.5)
    return SplineAutoregressive(network, **options)


@each_network
@pytest.mark.parametrize("boundary", ["linear", "circular", "none"])
@pytest.mark.parametrize("convention", ["nflows", "zuko"])
def test_a_layer_of_splines(name: str, boundary: str, convention: str, jacobian_log_det) -> None:
    options = {"bins": 4, "bound": 1.5, "boundary": boundary, "convention": convention}
    layer = spline_layer(name, **options, scale=0.5)
    x, context = data_of(layer.network)
    z, log_det = layer(x, context)
    params = plain_made(layer.network, x, context)
    want = ops.rational_quadratic_spline(x, params, **options, scale=0.5)
    assert_close((z, log_det), want, rtol=1e-12, atol=1e-12)
    back, back_log_det = layer.inverse(z, context)
    assert_close(back, x, rtol=1e-9, atol=1e-9)
    assert_close(back_log_det, -log_det, rtol=1e-8, atol=1e-8)
    of_row = torch.stack([
        jacobian_log_det(lambda r, c=c: layer.inverse(r, c)[0], z[i : i + 1])[0]
        for i, c in enumerate([None] * len(x) if context is None else context.split(1))
    ])  # fmt: skip
    assert_close(back_log_det, of_row, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("convention", ["nflows", "zuko"])
def test_a_new_flow_of_splines_is_the_identity(convention: str) -> None:
    flow = maf(4, layers=3, hidden=8, transform="spline", convention=convention, actnorm=False)
    x = torch.randn(50, 4)
    z, log_det = flow(x)
    assert_close(z, x, rtol=0, atol=1e-5)
    assert_close(log_det, torch.zeros(50), rtol=0, atol=1e-5)


def test_training_and_sampling_a_flow_of_splines() -> None:
    torch.manual_seed(0)
    flow = maf(2, layers=2, hidden=16, transform="spline", bins=6)
    x = torch.randn(256, 2)
    x[:, 1] = x[:, 0].abs() + 0.1 * x[:, 1]
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.7
    flow.eval()
    drawn, log_prob = flow.sample_and_log_prob(500)
    assert_close(flow.log_prob(drawn), log_prob, rtol=1e-3, atol=1e-2)
    assert (drawn[:, 1] - drawn[:, 0].abs()).abs().median() < 0.3


@each_network
def test_a_new_layer_is_the_identity(name: str) -> None:
    features, hidden, context, order = NETWORKS[name]
    layer = AffineAutoregressive(
        MaskedNetwork(features, 2, hidden, context=context, input_order=order)
    )
    x, given = (t if t is None else t.float() for t in data_of(layer.network))
    for function in (layer, layer.inverse):
        y, log_det = function(x, given)
        assert torch.equal(y, x)
        assert torch.equal(log_det, torch.zeros(len(x)))


def test_training_keeps_the_masks() -> None:
    torch.manual_seed(0)
    flow = maf(4, layers=2, hidden=8)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.1, weight_decay=0.1)
    x = torch.randn(64, 4) @ torch.randn(4, 4)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    for layer in flow.modules():
        if isinstance(layer, MaskedLinear):
            assert not layer.masked_weight()[layer.mask == 0].any()
            assert not layer.weight.grad[layer.mask == 0].any()
    flow.eval()
    back = flow.inverse(flow(x)[0])[0]
    assert_close(back, x, rtol=1e-3, atol=1e-3)


def test_gradients_of_a_layer_and_its_inverse() -> None:
    network = network_of("three layers")
    layer = AffineAutoregressive(network, scale_fn="tanh", bound=0.5)
    x, context = data_of(network, rows=2)
    assert context is not None
    names = [n for n, _ in layer.named_parameters()]
    parameters = [p.detach().requires_grad_() for p in layer.parameters()]

    class Inverted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            """The layer's inverse, as a module."""
            return self.layer.inverse(z, c)

    for module, prefix in ((layer, ""), (Inverted(), "layer.")):

        def call(x, context, *values, module=module, prefix=prefix):
            given = {prefix + n: v for n, v in zip(names, values, strict=True)}
            return functional_call(module, given, (x, context))

        inputs = (x.clone().requires_grad_(), context.clone().requires_grad_(), *parameters)
        assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize("input_order", ["alternating", "random"])
@pytest.mark.parametrize("dim", [1, 2, 7])
def test_maf(dim: int, input_order: str, randomize, jacobian_log_det) -> None:
    torch.manual_seed(0)
    flow = randomize(maf(dim, layers=3, hidden=(6, 5), input_order=input_order).double())
    x = torch.randn(4, dim, dtype=torch.float64)
    z, log_det = flow(x)
    assert_close(log_det, jacobian_log_det(lambda row: flow(row)[0], x), rtol=1e-12, atol=1e-12)
    assert_close(flow.log_prob(x), flow.base.log_prob(z) + log_det, rtol=1e-12, atol=1e-12)
    assert_close(flow.inverse(z)[0], x, rtol=1e-10, atol=1e-10)
    drawn, log_prob = flow.rsample_and_log_prob(3)
    assert_close(flow.log_prob(drawn), log_prob, rtol=1e-10, atol=1e-10)
    assert flow.sample((2, 3)).shape == (2, 3, dim)


def test_orders_of_maf() -> None:
    def orders(flow: nn.Module) -> list[tuple[int, ...]]:
        return [m.input_order for m in flow.modules() if isinstance(m, MaskedNetwork)]

    assert orders(maf(3, layers=3)) == [(0, 1, 2), (2, 1, 0), (0, 1, 2)]
    first = orders(maf(9, layers=3, input_order="random", seed=3))
    assert first == orders(maf(9, layers=3, input_order="random", seed=3))
    assert first != orders(maf(9, layers=3, input_order="random", seed=4))
    assert len(set(first)) == 3


def test_a_copy_and_a_checkpoint_give_the_same_numbers(randomize) -> None:
    flow = randomize(maf(5, layers=2, hidden=8))
    x = torch.randn(3, 5)
    other = maf(5, layers=2, hidden=8).eval()
    other.load_state_dict(flow.state_dict())
    for each in (copy.deepcopy(flow), other):
        assert torch.equal(each.log_prob(x), flow.log_prob(x))
        assert torch.equal(each.inverse(x)[0], flow.inverse(x)[0])


@pytest.mark.parametrize("shape", [(0, 3), (1, 3)])
def test_few_rows(shape: tuple[int, int]) -> None:
    layer = AffineAutoregressive(MaskedNetwork(3, 2, (4,)))
    x = torch.randn(shape)
    for function in (layer, layer.inverse):
        y, log_det = function(x)
        assert y.shape == shape
        assert log_det.shape == shape[:1]


def test_contexts_that_do_not_fit_are_named() -> None:
    with_one = AffineAutoregressive(MaskedNetwork(3, 2, (4,), context=2))
    without = AffineAutoregressive(MaskedNetwork(3, 2, (4,)))
    x = torch.randn(5, 3)
    for function in (with_one, with_one.inverse, with_one.network):
        with pytest.raises(TypeError, match="context"):
            function(x)
        for wrong in (torch.randn(5, 3), torch.randn(4, 2), torch.randn(5)):
            with pytest.raises(ValueError, match=r"context must have shape \(R, 2\)"):
                function(x, wrong)
    for function in (without, without.inverse, without.network):
        with pytest.raises(TypeError, match="context must be None"):
            function(x, torch.randn(5, 2))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_contexts_may_serve_several_rows(groups: int) -> None:
    network = network_of("three layers")
    layer = AffineAutoregressive(network, scale_fn="tanh", bound=0.5)
    x, context = data_of(network, rows=6)
    assert context is not None
    shared = context[:groups]
    each = shared.repeat_interleave(6 // groups, 0)
    assert_close(network(x, shared), network(x, each), rtol=1e-13, atol=1e-13)
    for function in (layer, layer.inverse):
        for got, want in zip(function(x, shared), function(x, each), strict=True):
            assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_networks_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="network must have 2 outputs"):
        AffineAutoregressive(MaskedNetwork(3, 3))
    with pytest.raises(ValueError, match="network must have 23 outputs"):
        SplineAutoregressive(MaskedNetwork(3, 2, grouped=True))
    with pytest.raises(ValueError, match="network must have grouped=True"):
        SplineAutoregressive(MaskedNetwork(3, 23))
    with pytest.raises(ValueError, match=r"MaskedNetwork: expected shape \(B, 3"):
        MaskedNetwork(3)(torch.randn(2, 4))
    with pytest.raises(ValueError, match="input_order must hold each"):
        MaskedNetwork(3, input_order=[0, 1, 1])

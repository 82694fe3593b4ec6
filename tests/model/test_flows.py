"""Flows: densities, round trips, samples, paths, state."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pytest
import torch
from torch.testing import assert_close

from flowkernels.bases import SphericalVonMisesFisher, StandardNormal
from flowkernels.bijections import Compose, Flip, Logit
from flowkernels.flows import Flow, glow, realnvp

bases = pytest.mark.parametrize("base", ["normal", "vmf"])


def small_glow(base, **options):
    return glow((1, 8, 8), levels=2, steps=2, hidden=8, base=base, **options)


def images(n, event=(1, 8, 8)):
    return torch.randint(256, (n, *event), dtype=torch.uint8)


def fit(flow, data, steps, rate=1e-2):
    """A flow after a few steps of maximum likelihood."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -flow.log_prob(data).mean()
        loss.backward()
        optimizer.step()
    return flow.eval()


@bases
def test_glow_log_prob_agrees_with_autograd(base, randomize, jacobian_log_det):
    flow = randomize(
        glow((2, 4, 4), levels=2, steps=2, hidden=6, base=base, dequantize=False).double()
    )
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    log_det = jacobian_log_det(lambda row: flow(row)[0], x)
    assert_close(flow(x)[1], log_det)
    assert_close(flow.log_prob(x), flow.base.log_prob(flow(x)[0]) + log_det)


@bases
def test_image_log_det_counts_logit_and_dequantisation(base, randomize, jacobian_log_det):
    flow = randomize(small_glow(base).double())
    x = images(2)
    levels = (x.double() + 0.5) / 256
    log_det = jacobian_log_det(lambda row: flow.bijection(row)[0], levels)
    assert_close(flow(x)[1], log_det - 64 * math.log(256))


@bases
def test_realnvp_log_prob_agrees_with_autograd(base, randomize, jacobian_log_det):
    flow = randomize(realnvp(5, layers=4, hidden=(6, 7), base=base).double())
    x = torch.randn(4, 5, dtype=torch.float64)
    expected = flow.base.log_prob(flow(x)[0]) + jacobian_log_det(lambda row: flow(row)[0], x)
    assert_close(flow.log_prob(x), expected)


@bases
def test_density_of_the_plane_integrates_to_one(base, randomize):
    flow = randomize(realnvp(2, layers=4, hidden=8, base=base).double())
    u = torch.linspace(-10, 10, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(u.sinh(), u.sinh())
    weight = torch.cartesian_prod(u.cosh(), u.cosh()).prod(-1) * (u[1] - u[0]) ** 2
    with torch.no_grad():
        total = (flow.log_prob(grid).exp() * weight).sum().item()
    # kinks of the ReLU networks limit the trapezoid rule
    assert abs(total - 1) < 1e-3


@bases
def test_samples_follow_the_density(base, randomize):
    flow = randomize(realnvp(3, layers=4, hidden=8, base=base).double())
    n = 20_000
    x = flow.sample(n)
    centre, spread = x.median(0).values, 0.7 * x.std(0).clamp_max(2.0)
    q = torch.distributions.Normal(centre, spread)
    with torch.no_grad():
        ratio = (q.log_prob(x).sum(-1) - flow.log_prob(x)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / math.sqrt(n)
    assert ratio.std() / math.sqrt(n) < 0.1


@bases
def test_glow_returns_eight_bit_images(base):
    flow = fit(
        glow((1, 28, 28), levels=2, steps=4, hidden=16, base=base), images(16, (1, 28, 28)), 5
    )
    x = images(8, (1, 28, 28))
    with torch.no_grad():
        z, log_det = flow(x)
        back, log_det_back = flow.inverse(z)
        # before rounding to levels, on the scale [0, 1]
        y = (x + 0.5) / 256
        raw, _ = flow.bijection.inverse(flow.bijection(y)[0])
    assert z.shape == (8, 784)
    assert torch.equal(back, x.float())
    assert (raw - y).abs().max() < 1e-4
    assert_close(log_det_back, -log_det, rtol=1e-5, atol=0)


def test_float_and_uint8_levels_agree():
    flow = fit(small_glow("normal"), images(16), 2)
    x = images(4)
    torch.manual_seed(1)
    first = flow.log_prob(x)
    torch.manual_seed(1)
    assert_close(flow.log_prob(x.float()), first)
    assert torch.equal(flow(x)[0], flow(x.float())[0])


def test_log_prob_is_random_and_forward_is_not():
    flow = fit(small_glow("vmf"), images(16), 2)
    x = images(4)
    assert not torch.equal(flow.log_prob(x), flow.log_prob(x))
    assert torch.equal(flow(x)[0], flow(x)[0])


@bases
def test_untrained_flow_starts_near_eight_bits(base):
    flow = small_glow(base)
    x = images(64)
    flow.log_prob(x)
    bits = flow.bits_per_dim(x)
    # uniform levels carry exactly 8 bits
    assert bits.shape == (64,)
    assert abs(bits.mean() - 8) < 0.3
    assert_close(flow.eval().bits_per_dim(x).mean(), bits.mean(), rtol=1e-2, atol=0)


@bases
@pytest.mark.parametrize("make", [small_glow, lambda base: realnvp(6, layers=4, base=base)])
def test_training_lowers_the_loss_with_finite_gradients(base, make):
    flow = make(base)
    data = images(32) // 8 if flow.dequantize else torch.randn(32, 6) ** 3
    before = -flow.log_prob(data).mean()
    before.backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    fit(flow, data, 15)
    assert -flow.log_prob(data).mean() < before - 1


def test_any_batch_shape(randomize):
    flow = randomize(realnvp(4, layers=2, hidden=8).double())
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    z, log_det = flow(x)
    assert z.shape == (3, 2, 4)
    assert log_det.shape == flow.log_prob(x).shape == (3, 2)
    back, log_det_back = flow.inverse(z)
    assert_close(back, x)
    assert log_det_back.shape == (3, 2)
    assert_close(flow.log_prob(x[0, 0]), flow.log_prob(x)[0, 0])
    assert flow.log_prob(x[0, 0]).shape == ()
    assert flow.sample().shape == (4,)
    assert flow.sample((2, 3)).shape == (2, 3, 4)
    assert flow.log_prob(x[:0]).shape == (0, 2)


@bases
def test_empty_images(base):
    flow = small_glow(base)
    assert flow.log_prob(images(0)).shape == (0,)
    assert flow.sample(0).shape == (0, 1, 8, 8)


@bases
def test_samples_are_levels(base):
    flow = fit(small_glow(base), images(16), 2)
    x = flow.sample(20)
    assert x.shape == (20, 1, 8, 8)
    assert not x.requires_grad
    assert x.min() >= 0
    assert x.max() <= 255
    assert torch.equal(x, x.floor())
    assert flow.log_prob(x).isfinite().all()


@bases
def test_sampling_uses_torchs_default_generator(base):
    flow = small_glow(base).eval()
    torch.manual_seed(5)
    first = flow.sample(3)
    torch.manual_seed(5)
    assert torch.equal(flow.sample(3), first)


@bases
@pytest.mark.parametrize("path", [None, "linear", "norm_corrected", "slerp"])
def test_image_paths_start_and_end_at_the_images(base, path):
    flow = fit(small_glow(base), images(16), 3)
    a, b = images(5), images(5)
    t = torch.linspace(0, 1, 4)
    walk = flow.interpolate(a, b, t, path)
    assert walk.shape == (5, 4, 1, 8, 8)
    assert walk.isfinite().all()
    assert torch.equal(walk[:, 0], a.float())
    assert torch.equal(walk[:, -1], b.float())
    assert torch.equal(flow.interpolate(a, b, 0.0, path), a.float())
    assert flow.interpolate(a[0], b[0], t, path).shape == (4, 1, 8, 8)


@bases
def test_vector_paths(base, randomize):
    flow = randomize(realnvp(4, layers=4, hidden=8, base=base).double())
    a, b = torch.randn(2, 6, 4, dtype=torch.float64)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    walk = flow.interpolate(a, b, t)
    assert_close(walk[:, 0], a)
    assert_close(walk[:, -1], b)
    assert_close(flow(walk)[0], flow.base.path(flow(a)[0], flow(b)[0], t))
    own = flow.interpolate(a, b, t, lambda u, v, t: flow.base.path(u, v, t))
    assert torch.equal(own, walk)


def test_rsample_and_log_prob_agree_with_log_prob(randomize):
    flow = randomize(realnvp(3, layers=4, hidden=8).double())
    x, log_prob = flow.rsample_and_log_prob((4, 2))
    assert x.shape == (4, 2, 3)
    assert_close(log_prob, flow.log_prob(x))
    (log_prob.sum() + x.sum()).backward()
    assert all(p.grad is not None for p in flow.parameters())
    with pytest.raises(TypeError, match="discrete"):
        small_glow("normal").rsample_and_log_prob(2)


@bases
@pytest.mark.parametrize(
    "make", [small_glow, lambda base: realnvp(4, layers=4, hidden=8, base=base)]
)
def test_survives_state_dict_copy_pickle_and_save(base, make):
    flow = make(base)
    data = images(16) if flow.dequantize else 5 + torch.randn(16, 4)
    flow = fit(flow, data, 2)
    expected = flow(data)
    fresh = make(base)
    fresh.load_state_dict(flow.state_dict())
    buffer = io.BytesIO()
    torch.save(flow, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=False)
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), fresh, saved):
        # in training mode the twin must know that it is initialised
        for mode in (True, False):
            for value, other in zip(expected, twin.train(mode)(data), strict=True):
                assert torch.equal(value, other)


@bases
def test_conversion_to_double_and_back(base):
    flow = fit(small_glow(base), images(16), 2)
    x = images(4)
    z, log_det = flow(x)
    precise, log_det64 = copy.deepcopy(flow).to(torch.float64)(x)
    assert precise.dtype == log_det64.dtype == torch.float64
    assert_close(z.double(), precise, rtol=0, atol=1e-3)
    assert_close(log_det.double(), log_det64, rtol=1e-4, atol=0)
    assert flow.double().float()(x)[0].dtype == torch.float32
    assert flow.sample(2).dtype == torch.float32


@bases
def test_vectors_compile_without_graph_breaks(base):
    x = torch.randn(8, 4)
    flow = fit(realnvp(4, layers=2, hidden=8, base=base), x, 1).train()
    outcomes = []
    for log_prob in (
        flow.log_prob,
        torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager"),
    ):
        flow.zero_grad()
        value = log_prob(x)
        value.sum().backward()
        outcomes.append([value, *(p.grad.clone() for p in flow.parameters())])
    for expected, got in zip(*outcomes, strict=True):
        assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_images_compile_without_graph_breaks():
    x = images(8)
    flow = fit(small_glow("vmf"), x, 1).train()
    compiled = torch.compile(flow.bits_per_dim, fullgraph=True, backend="aot_eager")
    # a compiled graph draws other noise
    assert_close(compiled(x).mean(), flow.bits_per_dim(x).mean(), rtol=2e-2, atol=0)
    compiled(x).mean().backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_channels_last_gives_the_same_results():
    flow = fit(small_glow("normal"), images(16), 3)
    x = images(4)
    expected = flow(x)
    flow.to(memory_format=torch.channels_last)
    for value, other in zip(expected, flow(x), strict=True):
        assert_close(other, value, rtol=1e-5, atol=1e-4)
    z, _ = flow(x.to(memory_format=torch.channels_last))
    assert torch.equal(flow.inverse(z)[0], x.float())


@bases
def test_torch_func_scores_and_per_sample_gradients(base, randomize):
    flow = randomize(realnvp(4, layers=3, hidden=8, base=base).double())
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    log_prob = flow.log_prob(x)
    (score,) = torch.autograd.grad(log_prob.sum(), x)
    x = x.detach()
    assert_close(torch.func.vmap(flow.log_prob)(x), log_prob)
    assert_close(torch.func.vmap(torch.func.grad(flow.log_prob))(x), score)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: flow(row)[0]))(x)
    assert_close(torch.linalg.slogdet(jacobian).logabsdet, flow(x)[1])

    def log_det(parameters, row):
        return torch.func.functional_call(flow, parameters, (row,))[1]

    parameters = dict(flow.named_parameters())
    each = torch.func.vmap(torch.func.grad(log_det), in_dims=(None, 0))(parameters, x)
    flow(x)[1].sum().backward()
    for name, parameter in flow.named_parameters():
        assert_close(each[name].sum(0), parameter.grad)


def test_bfloat16_autocast_stays_close(randomize):
    flow = fit(small_glow("vmf"), images(32), 10)
    x = images(16)
    with torch.no_grad():
        expected = flow.bits_per_dim(x).mean()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = flow.bits_per_dim(x)
            z, _ = flow(x)
            back, _ = flow.inverse(z)
    assert got.dtype == torch.float32
    assert abs(got.mean() - expected) < 0.05
    assert torch.equal(back, x.float())


def test_custom_bijection_and_base():
    class Shifted(StandardNormal):
        def log_prob(self, z):
            return super().log_prob(z - 1)

    flow = Flow(Compose([Logit(alpha=0.0), Flip()]), Shifted(3))
    assert flow.event_shape == (3,)
    assert flow.latent_shape == (3,)
    x = torch.rand(4, 3)
    normal = torch.distributions.Normal(1.0, 1.0)
    expected = normal.log_prob(x.logit()).sum(-1) - (x * (1 - x)).log().sum(-1)
    assert_close(flow.log_prob(x), expected)
    own = glow((1, 4, 4), levels=1, steps=1, hidden=4, base=SphericalVonMisesFisher(16, 2.0))
    assert own.base.concentration == 32.0


@pytest.mark.parametrize("activation", ["exp", "sigmoid", "softplus"])
def test_coupling_options_reach_the_couplings(activation):
    flow = realnvp(
        4, layers=2, hidden=8, scale_fn=activation, order="shift_then_scale", layout="interleaved"
    )
    couplings = [m for m in flow.modules() if hasattr(m, "scale_fn")]
    assert len(couplings) == 2
    assert all(
        (c.scale_fn, c.order, c.layout) == (activation, "shift_then_scale", "interleaved")
        for c in couplings
    )
    x = torch.randn(5, 4)
    assert_close(flow.inverse(flow(x)[0])[0], x, rtol=0, atol=1e-5)


def test_repr():
    text = repr(small_glow("vmf"))
    assert "event_shape=(1, 8, 8)" in text
    assert "concentration_scale=1" in text
    count = sum(p.numel() for p in small_glow("vmf").parameters())
    assert f"parameters={count:_}" in text


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: glow((1, 28, 28), levels=3), r"2\*\*levels = 8; this size allows levels <= 2"),
        (lambda: glow((28, 28)), r"event_shape must be \(C, H, W\), got \(28, 28\)"),
        (lambda: glow((1, 8, 8), levels=0), "levels must be at least 1, got 0"),
        (lambda: glow((1, 8, 8), steps=0), "steps must be at least 1, got 0"),
        (lambda: glow((1, 8, 8), hidden=0), "hidden must be at least 1, got 0"),
        (lambda: glow((1, 8, 8), base="gauss"), "base must be .*got 'gauss'"),
        (lambda: glow((1, 8, 8), base=StandardNormal(3)), r"event_shape \(64,\), got \(3,\)"),
        (lambda: realnvp(1), "dim must be at least 2 .*got 1"),
        (lambda: realnvp(4, layers=0), "layers must be at least 1, got 0"),
        (lambda: realnvp(4, hidden=0), "hidden must be positive, got 0"),
        (lambda: realnvp(4).log_prob(torch.randn(2, 5)), r"\(\*batch, 4\), got \(2, 5\)"),
        (lambda: realnvp(4).inverse(torch.randn(2, 5)), r"z must have shape \(\*batch, 4\), got"),
        (lambda: small_glow("normal").log_prob(torch.rand(2, 1, 8, 8)), "multiply by 255"),
        (lambda: small_glow("normal").log_prob(images(2, (3, 8, 8))), r"got \(2, 3, 8, 8\)"),
        (
            lambda: realnvp(4).interpolate(torch.randn(2, 4), torch.randn(3, 4), 0.5),
            r"same shape, got \(2, 4\) and \(3, 4\)",
        ),
        (
            lambda: realnvp(4).interpolate(torch.randn(2, 4), torch.randn(2, 4), 0.5, "arc"),
            "path must be one of .*got 'arc'",
        ),
    ],
)
def test_rejects_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_rejects_wrong_dtype():
    with pytest.raises(TypeError, match=r"flow's dtype torch.float32, got torch.float64"):
        realnvp(4).log_prob(torch.randn(2, 4, dtype=torch.float64))


def test_every_parameter_gets_a_gradient():
    """DistributedDataParallel waits for the gradient of every parameter."""
    flow = small_glow("vmf")
    flow.log_prob(images(8)).sum().backward()
    assert all(p.grad is not None for p in flow.parameters())


@pytest.mark.parametrize(
    ("sample_shape", "error"),
    [(-1, ValueError), ((2, -3), ValueError), (2.5, TypeError), (("a",), TypeError)],
)
def test_wrong_numbers_of_draws_are_named(sample_shape, error):
    flow = realnvp(3, layers=1, hidden=4)
    for draw in (flow.sample, flow.rsample_and_log_prob):
        with pytest.raises(error, match="sample_shape must"):
            draw(sample_shape)

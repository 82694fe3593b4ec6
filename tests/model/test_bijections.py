"""Every bijection: round trip, log-det against autograd, state, errors."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.bijections import (
    ActNorm,
    ActNormConv1x1,
    AffineAutoregressive,
    AffineCoupling,
    Bijection,
    Compose,
    Dequantize,
    Flip,
    GlowStep,
    GlowSteps,
    Inverse,
    InvertibleConv1x1,
    Logit,
    LULinear,
    MaskedNetwork,
    Multiscale,
    Permutation,
    ScaledStereographic,
    SplineAutoregressive,
    Squeeze,
    Standardize,
    conv_conditioner,
    mlp_conditioner,
)


def conv_coupling(channels, **options):
    half = channels // 2
    return AffineCoupling(conv_conditioner(half, 2 * half, hidden=5), **options)


def glow_steps(channels, steps=3):
    return [GlowStep(channels, conv_coupling(channels)) for _ in range(steps)]


# name: (make, event shape of the data); data is uniform on [0, 1)
CASES = {
    "actnorm": (lambda: ActNorm(3), (3,)),
    "actnorm_image": (lambda: ActNorm(2), (2, 3, 2)),
    "conv1x1_vector": (lambda: InvertibleConv1x1(5), (5,)),
    "conv1x1_signal": (lambda: InvertibleConv1x1(3), (3, 4)),
    "conv1x1_image": (lambda: InvertibleConv1x1(4), (4, 2, 3)),
    "conv1x1_volume": (lambda: InvertibleConv1x1(3), (3, 2, 1, 2)),
    "actnorm_conv1x1": (lambda: ActNormConv1x1(4), (4, 2, 2)),
    "actnorm_conv1x1_vector": (lambda: ActNormConv1x1(4), (4,)),
    "coupling_conv": (lambda: conv_coupling(4), (4, 2, 3)),
    "autoregressive": (lambda: AffineAutoregressive(MaskedNetwork(5, 2, (7, 6))), (5,)),
    "autoregressive_spline": (
        lambda: SplineAutoregressive(MaskedNetwork(5, 11, (7, 6), grouped=True), bins=4),
        (5,),
    ),
    "squeeze": (Squeeze, (2, 4, 2)),
    "permutation": (lambda: Permutation([2, 0, 3, 1]), (4, 2)),
    "permutation_random": (lambda: Permutation.random(7, seed=3), (7,)),
    "flip": (Flip, (5,)),
    "lu_linear": (lambda: LULinear(5), (5,)),
    "lu_linear_without_bias": (lambda: LULinear(5, bias=False), (5,)),
    "lu_linear_image": (lambda: LULinear(4), (4, 2, 3)),
    "standardize": (
        lambda: Standardize(torch.linspace(-2, 2, 6).view(2, 3), torch.linspace(0.1, 4, 3)),
        (2, 3),
    ),
    "standardize_one": (lambda: Standardize(torch.tensor(1.0), torch.tensor(0.5)), ()),
    "logit": (Logit, (2, 3)),
    "inverse": (lambda: Inverse(Logit()), (4,)),
    "compose": (lambda: Compose([ActNorm(4), Flip(), InvertibleConv1x1(4)]), (4,)),
    "compose_nothing": (lambda: Compose([]), (3,)),
    "glow_step": (lambda: glow_steps(4)[0], (4, 2, 2)),
    "glow_steps": (lambda: GlowSteps(glow_steps(4)), (4, 2, 2)),
    "multiscale": (
        lambda: Multiscale([GlowSteps(glow_steps(4)), ActNormConv1x1(8)], (1, 4, 4)),
        (1, 4, 4),
    ),
}
SCALE_FNS = ["exp", "tanh", "softclip", "atan", "sigmoid", "inv_sigmoid", "softplus"]
LAYOUTS = ["shift_scale", "scale_shift", "interleaved", "interleaved_scale_shift"]
ORDERS = ["scale_then_shift", "shift_then_scale"]
for _scale_fn, _half in itertools.product(SCALE_FNS, ["first", "second"]):
    CASES[f"coupling_mlp_{_scale_fn}_{_half}"] = (
        lambda s=_scale_fn, h=_half: AffineCoupling(
            mlp_conditioner(*((3, 4) if h == "first" else (2, 6)), (7,)), transform=h, scale_fn=s
        ),
        (5,),
    )
for _layout, _order in itertools.product(LAYOUTS, ORDERS):
    CASES[f"coupling_mlp_{_layout}_{_order}"] = (
        lambda la=_layout, o=_order: AffineCoupling(
            mlp_conditioner(2, 4, (7,)), layout=la, order=o, bound=1.5
        ),
        (4,),
    )

every_case = pytest.mark.parametrize(("make", "event"), CASES.values(), ids=CASES)


@every_case
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 5e-5), (torch.float64, 1e-12)])
def test_round_trip(make, event, dtype, tol, randomize):
    bijection = randomize(make().to(dtype))
    x = torch.rand(6, *event, dtype=dtype)
    z, log_det = bijection(x)
    back, log_det_back = bijection.inverse(z)
    assert z.dtype == back.dtype == log_det.dtype == dtype
    assert log_det.shape == log_det_back.shape == (6,)
    assert_close(back, x, rtol=0, atol=tol)
    assert_close(log_det_back, -log_det, rtol=tol, atol=20 * tol)


@every_case
def test_log_det_matches_the_jacobian(make, event, randomize, jacobian_log_det):
    bijection = randomize(make().double())
    x = torch.rand(2, *event, dtype=torch.float64)
    z, log_det = bijection(x)
    expected = jacobian_log_det(lambda row: bijection(row)[0], x)
    assert_close(log_det, expected, rtol=1e-10, atol=1e-10)
    back = jacobian_log_det(lambda row: bijection.inverse(row)[0], z.detach())
    assert_close(bijection.inverse(z)[1], back, rtol=1e-9, atol=1e-9)


@every_case
def test_empty_batch(make, event):
    bijection = make()
    z, log_det = bijection(torch.rand(0, *event))
    assert log_det.shape == (0,)
    assert bijection.inverse(z)[0].shape == (0, *event)


@every_case
def test_gradients_reach_every_parameter(make, event, randomize):
    bijection = randomize(make().double())
    x = torch.rand(4, *event, dtype=torch.float64, requires_grad=True)
    z, log_det = bijection(x)
    (z.square().sum() + log_det.sum()).backward()
    for name, tensor in [("x", x), *bijection.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().sum() > 0, name


@every_case
def test_survives_copy_pickle_and_state_dict(make, event, randomize):
    bijection = randomize(make())
    x = torch.rand(3, *event)
    expected = bijection(x)
    fresh = make().eval()
    fresh.load_state_dict(bijection.state_dict())
    for twin in (copy.deepcopy(bijection), pickle.loads(pickle.dumps(bijection)), fresh):
        for value, other in zip(expected, twin(x), strict=True):
            assert torch.equal(value, other)


@pytest.mark.parametrize("event", [(1, 8, 8), (3, 16, 8), (2, 24, 8)])
def test_multiscale_latent_starts_with_the_first_level(event):
    levels = [Compose([]) for _ in range(3)]
    multiscale = Multiscale(levels, event)
    x = torch.rand(2, *event)
    z, log_det = multiscale(x)
    assert z.shape == (2, x[0].numel())
    assert not log_det.any()
    half = x[0].numel() // 2
    assert torch.equal(z[:, :half], Squeeze()(x)[0].chunk(2, 1)[0].flatten(1))
    assert torch.equal(multiscale.inverse(z)[0], x)


def test_glow_steps_equal_compose(randomize):
    batched = randomize(GlowSteps(glow_steps(6, steps=4)).double())
    single = Compose(batched.steps)
    x = torch.rand(3, 6, 4, 4, dtype=torch.float64)
    outcomes = []
    for bijection in (batched, single):
        batched.zero_grad()
        z, log_det = bijection(x)
        (z.square().sum() + log_det.sum()).backward()
        grads = [p.grad.clone() for p in batched.parameters()]
        outcomes.append([z, log_det, *bijection.inverse(z), *grads])
    for value, expected in zip(*outcomes, strict=True):
        assert_close(value, expected, rtol=1e-12, atol=1e-11)


def test_coupling_calls_the_fused_op(monkeypatch):
    calls = []
    fused = ops.affine_coupling_split

    def counted(*args, **options):
        calls.append(options)
        return fused(*args, **options)

    monkeypatch.setattr(ops, "affine_coupling_split", counted)
    step = GlowStep(4, conv_coupling(4, scale_fn="atan", bound=1.25))
    step.inverse(step(torch.rand(2, 4, 2, 2))[0])
    assert [c["inverse"] for c in calls] == [False, True]
    assert all(c["scale_fn"] == "atan" and c["bound"] == 1.25 for c in calls)


@pytest.mark.parametrize("coupling", [conv_coupling(4), GlowSteps(glow_steps(4)).steps[0].coupling])
def test_new_coupling_is_the_identity(coupling):
    x = torch.randn(2, 4, 3, 3)
    z, log_det = coupling(x)
    assert torch.equal(z, x)
    assert not log_det.any()


def test_conv1x1_starts_as_a_rotation():
    z, log_det = InvertibleConv1x1(12)(torch.eye(12)[:, :, None, None])
    matrix = z.squeeze()
    assert_close(matrix @ matrix.T, torch.eye(12), rtol=0, atol=1e-5)
    assert_close(log_det, torch.zeros(12), rtol=0, atol=1e-5)


def test_mixing_keeps_full_precision_under_autocast(randomize):
    layer = randomize(ActNormConv1x1(8))
    x = torch.randn(4, 8, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, log_det = layer(x)
        back, _ = layer.inverse(z)
    assert z.dtype == log_det.dtype == torch.float32
    assert_close(back, x, rtol=0, atol=1e-4)


def test_log_det_of_half_precision_is_float32(randomize):
    x = torch.rand(2, 4, 2, 2, dtype=torch.bfloat16)
    for bijection in (ActNorm(4), Logit(), Squeeze(), AffineCoupling(conv_conditioner(2, 4, 8))):
        assert bijection.bfloat16().eval()(x)[1].dtype == torch.float32


def test_dequantize_fills_the_bins():
    x = torch.randint(256, (50, 3, 8, 8), dtype=torch.uint8)
    z, log_det = Dequantize()(x)
    offset = z * 256 - x
    assert offset.min() >= 0
    assert offset.max() <= 1
    assert abs(offset.mean() - 0.5) < 0.02
    assert abs(offset.std() - 12**-0.5) < 0.02
    assert_close(log_det, torch.full((50,), -192 * torch.tensor(256.0).log()))
    level, log_det_back = Dequantize().inverse(z)
    assert (level - x).abs().max() <= 0
    assert torch.equal(log_det_back, -log_det)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_bin_centres_round_trip_exactly(dtype):
    x = torch.arange(256).to(dtype)[None]
    z, _ = Dequantize(noise=False)(x)
    assert torch.equal(z, Dequantize().centre(x)[0])
    assert torch.equal(Dequantize().inverse(z)[0], x.to(z.dtype))
    assert torch.equal(
        Dequantize().inverse(torch.tensor([[-0.5, 1.0, 7.0]]))[0],
        torch.tensor([[0.0, 255.0, 255.0]]),
    )


def test_logit_without_margin_matches_torch():
    x = torch.rand(5, 7, dtype=torch.float64)
    assert_close(Logit(alpha=0.0)(x)[0], x.logit(), rtol=1e-12, atol=1e-12)


def test_logit_inverse_is_finite_at_large_inputs():
    z = torch.tensor([[-1e4, -200.0, 200.0, 1e4]], requires_grad=True)
    x, log_det = Logit().inverse(z)
    (x.sum() + log_det.sum()).backward()
    assert x.isfinite().all()
    assert log_det.isfinite().all()
    assert z.grad.isfinite().all()


def test_scaled_stereographic_log_det_is_the_surface_element():
    bijection = ScaledStereographic(4, scale=0.3)
    z = torch.randn(5, 4, dtype=torch.float64)
    s, log_det = bijection(z)
    assert_close(s.norm(dim=-1), torch.ones(5, dtype=torch.float64))
    for row, value in zip(z, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: bijection(r)[0], row)
        assert_close(value, 0.5 * torch.linalg.slogdet(jacobian.T @ jacobian).logabsdet)
    back, log_det_back = bijection.inverse(s)
    assert_close(back, z)
    assert_close(log_det_back, -log_det)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Squeeze()(torch.zeros(1, 1, 3, 4)), r"even H and W, got \(1, 1, 3, 4\)"),
        (lambda: Squeeze().inverse(torch.zeros(1, 3, 4, 4)), r"\(B, 4C, H, W\), got"),
        (lambda: Permutation([0, 0, 1]), r"each of 0, ..., C-1 once, got \[0, 0, 1\]"),
        (lambda: Logit(alpha=0.5), r"alpha must be in \[0, 1/2\), got 0.5"),
        (lambda: Dequantize(levels=1), "levels must be at least 2, got 1"),
        (lambda: Dequantize()(torch.full((1, 2), 0.5)), "got 0.5 .*multiply by 255"),
        (lambda: Dequantize()(torch.full((1, 2), 256.0)), "whole levels 0, ..., 255, got 256"),
        (lambda: Dequantize()(torch.full((1, 2), float("nan"))), "got nan"),
        (lambda: Dequantize(8)(torch.full((1, 2), 8, dtype=torch.uint8)), "got 8"),
        (lambda: ActNorm(3)(torch.zeros(2, 4)), r"\(B, 3, \*S\), got \(2, 4\)"),
        (lambda: InvertibleConv1x1(3)(torch.zeros(3)), r"\(B, 3, \*S\), got \(3,\)"),
        (lambda: ActNormConv1x1(3).eval()(torch.zeros(2, 4, 2)), r"\(B, 3, \*S\), got"),
        (lambda: ActNormConv1x1(3).inverse(torch.zeros(2, 4, 2)), r"\(B, 3, \*S\), got"),
        (lambda: AffineCoupling(mlp_conditioner(2, 4), transform="both"), "got 'both'"),
        (lambda: Multiscale([Compose([])], (1, 7, 8)), "divisible by 2.*= 2"),
        (lambda: Multiscale([Compose([])], (7, 8)), r"event_shape must be \(C, H, W\)"),
        (lambda: Multiscale([], (1, 8, 8)), "levels must be at least 1, got 0"),
        (lambda: Multiscale([Compose([])], (1, 8, 8))(torch.zeros(1, 8, 8)), r"\(B, 1, 8, 8\)"),
        (lambda: Multiscale([Compose([])], (1, 8, 8)).inverse(torch.zeros(1, 63)), r"\(B, 64\)"),
        (lambda: ScaledStereographic(0), "dim must be at least 1, got 0"),
        (lambda: ScaledStereographic(2, scale=0.0), "scale must be positive"),
    ],
)
def test_rejects_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_undefined_bijection_raises():
    with pytest.raises(NotImplementedError, match="Bijection does not define forward"):
        Bijection()(torch.zeros(1))

"""Training steps and use of every flow with every base under the watch; see test_no_copies.py."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

from flowkernels import bases, bijections, flows
from flowkernels.bases import Base, FromDistribution, ResampledBase, base_names
from flowkernels.experiments.training.averaging import AveragedWeights
from flowkernels.experiments.training.finite import FiniteSteps
from flowkernels.experiments.training.module import FlowModule
from flowkernels.experiments.training.reverse_kl import reverse_kl
from flowkernels.flows import Flow
from flowkernels.interpolation import CauchyLength, Chi, cauchy_length, far_tails, path_names

from .watch import Refused, fake_device, like, to_device, watched

ROWS, DIM, IMAGE = 6, 16, (1, 4, 4)


def _maf(recompute: bool = False, layout: str = "", **options: Any) -> Flow:
    """Without the options that it does not have."""
    flow = flows.maf(DIM, layers=2, hidden=8, **options)
    flow.recompute = recompute
    return flow


# How each flow is built around a base, and its data.
FLOWS: dict[str, Callable[..., Flow]] = {
    "realnvp": lambda **options: flows.realnvp(DIM, layers=3, hidden=8, **options),
    "glow": lambda **options: flows.glow(IMAGE, levels=2, steps=2, hidden=8, **options),
    "maf": _maf,
    "nsf": lambda **options: flows.nsf(DIM, layers=2, hidden=8, **options),
}


def _laplace() -> FromDistribution:
    return FromDistribution(Independent(Laplace(torch.zeros(DIM), torch.ones(DIM)), 1))


class LearnableNormal(Base):
    """A user-defined base with Parameters."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.loc = nn.Parameter(torch.zeros(DIM))
        self.log_scale = nn.Parameter(torch.zeros(DIM))

    def log_prob(self, z: Tensor) -> Tensor:
        law = Normal(self.loc, self.log_scale.exp(), validate_args=False)
        return law.log_prob(z).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = torch.randn(*sample_shape, DIM, device=self.loc.device)
        return self.loc + self.log_scale.exp() * noise


def _learnable_concentration() -> Base:
    base = bases.SphericalVonMisesFisher(DIM)
    for name in ("loc", "concentration"):
        value = base._buffers.pop(name)
        assert value is not None
        base.register_parameter(name, nn.Parameter(value))
    return base


# Every base name, and bases without a name or with options.
BASES: dict[str, Callable[[], str | Base]] = {
    **{name: lambda name=name: name for name in base_names()},  # type: ignore[misc]
    "from_distribution": _laplace,
    "multivariate_normal": lambda: FromDistribution(
        MultivariateNormal(torch.zeros(DIM), torch.eye(DIM))
    ),
    "resampled_trainable": lambda: ResampledBase(DIM, hidden=(8,), groups=4, trainable=True),
    "resampled_small_truncation": lambda: ResampledBase(DIM, hidden=(8,), truncation=5),
    "vmf_other_mean": lambda: bases.SphericalVonMisesFisher(DIM, loc=torch.eye(DIM + 1)[0]),
    "vmf_trainable": _learnable_concentration,
    "learnable_normal": LearnableNormal,
    "vmf_mixture": lambda: bases.SphericalVonMisesFisherMixture(DIM, 3),
}
# Coupling options, with the default base.
COUPLINGS: list[dict[str, Any]] = [
    {"scale_fn": fn, "layout": layout, "order": order}
    for fn, layout, order in (
        ("exp", "scale_shift", "shift_then_scale"),
        ("sigmoid", "interleaved", "scale_then_shift"),
        ("softplus", "shift_scale", "scale_then_shift"),
    )
]

each_flow = pytest.mark.parametrize("kind", FLOWS)
each_base = pytest.mark.parametrize("base", BASES)
in_precisions = pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer Newton steps and terms of series and fractions: each calls the same ops."""
    for law in (CauchyLength, Chi):
        monkeypatch.setattr(law, "rounds", 2)
    monkeypatch.setattr(far_tails, "_TERMS", 3)
    fraction = cauchy_length._continued_fraction
    monkeypatch.setattr(
        cauchy_length, "_continued_fraction", lambda a, b, x, most: fraction(a, b, x, min(most, 5))
    )


def build(kind: str, base: str = "normal", **options: Any) -> Flow:
    flow = FLOWS[kind](base=BASES[base](), **options)
    for parameter in flow.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return flow


def data(flow: Flow) -> Tensor:
    shape = (ROWS, *flow.event_shape)
    if flow.dequantize is None:
        return torch.randn(shape, device="cuda")
    return torch.randint(256, shape, dtype=torch.uint8, device="cuda")


class OneDevice:
    """The attributes of Lightning's trainer that a step reads."""

    world_size, global_rank, global_step, current_epoch = 1, 0, 0, 0
    gradient_clip_val = 50.0


def step(module: FlowModule, x: Tensor, optimizer: Any, scheduler: Any) -> None:
    """One batch, with the calls and the order of Lightning."""
    loss = module.training_step(x, 0)
    optimizer.zero_grad()
    loss.backward()
    module.configure_gradient_clipping(optimizer, 50.0, "norm")
    optimizer.step()
    scheduler.step()


def in_training(module: FlowModule, monkeypatch: pytest.MonkeyPatch) -> FlowModule:
    """The module on the fake device, as Lightning's trainer has it."""
    to_device(module)
    module._trainer = OneDevice()
    monkeypatch.setattr(FlowModule, "trainer", property(lambda self: self._trainer))
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    return module.train()


def training(flow: Flow, monkeypatch: pytest.MonkeyPatch, autocast: bool = False) -> None:
    """A first step, which initialises actnorms and tables, then a second under the watch."""
    module = FlowModule(flow, warmup_steps=2, total_steps=10, look_every=10)
    with fake_device():
        configured = in_training(module, monkeypatch).configure_optimizers()
        optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        x = data(flow)
        cast = torch.autocast("cuda", torch.bfloat16) if autocast else nullcontext()
        with cast:
            assert torch.is_autocast_enabled("cuda") == autocast
            step(module, x, optimizer, scheduler)
            with watched() as watch:
                step(module, x, optimizer, scheduler)
    assert not watch.inherent


def _steps() -> list[tuple[str, str, str]]:
    """Every flow with every base; recomputed, every flow and every base, with each other by turns.

    What is recomputed are the layers, which know nothing of the base.
    """
    kept = [(kind, base, "kept") for kind in FLOWS for base in BASES]
    turns = zip(itertools.cycle(FLOWS), BASES, strict=False)
    return kept + [(kind, base, "recompute") for kind, base in turns]


@pytest.mark.parametrize(("kind", "base", "layers"), _steps())
def test_training_step(kind: str, base: str, layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recompute = layers == "recompute"
    training(build(kind, base, recompute=recompute), monkeypatch)


def captured_step(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, autocast: bool, parts: int = 1
) -> None:
    """What a CUDA graph holds: gradients set to None, loss, backward, clipping, the check."""
    module = FlowModule(flow, accumulate=parts)
    with fake_device():
        in_training(module, monkeypatch)
        module._finite = FiniteSteps(torch.device("cuda"))
        x = data(module.flow)
        with torch.autocast("cuda", torch.bfloat16) if autocast else nullcontext():
            module._whole_step(x)
            before = [p.grad for p in module.parameters()]
            with watched() as watch:
                module._whole_step(x)
        after = [p.grad for p in module.parameters()]
    assert all(new is not None and new is not old for new, old in zip(after, before, strict=True))
    assert not watch.inherent


@pytest.mark.parametrize("parts", [1, 4])
@in_precisions
@each_flow
def test_captured_step(
    kind: str, autocast: bool, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured_step(build(kind, "vmf"), monkeypatch, autocast, parts)


@in_precisions
def test_steps_with_learned_dequantisation(autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    captured_step(build("glow", "vmf", dequantize="variational"), monkeypatch, autocast)
    training(build("glow", "vmf", dequantize="variational"), monkeypatch, autocast)


def test_averaged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The update after a step, and the exchange around a validation."""
    module = FlowModule(build("glow"))
    with fake_device():
        average = AveragedWeights(in_training(module, monkeypatch), 0.999)
        with watched() as watch:
            for step_done in (0, 1, 10**6):
                average.update(step_done)
            average.exchange()
            average.exchange()
    assert all(value.is_cuda for value in average.values.values())
    assert not watch.inherent


# torchmetrics copies its state, here that of a fake tensor, for which torch warns.
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")
def test_optimiser_is_fused() -> None:
    with fake_device():
        module = to_device(FlowModule(build("realnvp")))
        optimizer = module.configure_optimizers()["optimizer"]
        assert optimizer.param_groups[0]["fused"]


@pytest.mark.parametrize("options", COUPLINGS, ids=lambda o: o["scale_fn"])
@pytest.mark.parametrize("kind", [kind for kind in FLOWS if kind != "nsf"])
def test_training_step_of_other_couplings(
    kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    training(build(kind, **options), monkeypatch)


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recompute"])
@each_flow
def test_training_step_under_autocast(
    kind: str, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(build(kind, "vmf", recompute=recompute), monkeypatch, autocast=True)


@each_flow
def test_first_training_step(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that initialises the actnorms."""
    flow = build(kind)
    with fake_device():
        to_device(flow.train())
        x = data(flow)
        with watched():
            flow.log_prob(x).mean().backward()


def test_first_training_step_without_dequantisation() -> None:
    flow = build("glow", dequantize=False)
    with fake_device():
        to_device(flow.train())
        with watched():
            flow.log_prob(data(flow)).mean().backward()


@pytest.mark.parametrize("dequantize", ["uniform", "variational"])
def test_float_images(dequantize: str) -> None:
    """Their levels are checked without reading them."""
    flow = build("glow", dequantize=dequantize).eval()
    with fake_device():
        to_device(flow)
        with watched():
            flow.log_prob(data(flow).float()).mean().backward()


@each_base
@each_flow
def test_use(kind: str, base: str) -> None:
    """Encoding, decoding, densities, draws and the base's default path, without gradients."""
    flow = build(kind, base)
    with fake_device(), torch.no_grad():
        to_device(flow.eval())
        x, y = data(flow), data(flow)

        def everything() -> None:
            z, _ = flow(x)
            flow.inverse(z)
            flow.log_prob(x)
            flow.bits_per_dim(x)
            flow.sample(3)
            flow.interpolate(x, y, 0.3)
            flow.interpolate(x, y, torch.linspace(0, 1, 5, device="cuda"))

        everything()
        with watched():
            everything()


def _paths() -> list[tuple[str, str]]:
    """Every path with a normal base, and with every base that has a marginal."""
    marginals = [
        name
        for name, make in BASES.items()
        if (law := bases.make_base(make(), DIM)).marginal or law.radial_marginal
    ]
    assert {"cauchy", "isotropic_cauchy"} <= set(marginals)
    return [(base, path) for base in ("normal", *marginals) for path in path_names()]


@pytest.mark.parametrize(("base", "path"), _paths())
def test_paths(base: str, path: str) -> None:
    law = bases.make_base(BASES[base](), DIM)
    with fake_device():
        to_device(law)
        a, b = (torch.randn(ROWS, DIM, device="cuda", requires_grad=True) for _ in range(2))
        t = torch.rand(5, device="cuda", requires_grad=True)
        with watched():
            law.path(a, b, 0.3, path).sum().backward()
            law.path(a, b, t, path).sum().backward()


def test_unlimited_rejection_synchronises() -> None:
    """Without a limit, the host must read from the device whether proposals remain."""
    law = ResampledBase(DIM, hidden=(8,), truncation=math.inf)
    with fake_device():
        to_device(law)
        with watched(), pytest.raises(Refused):
            law.sample(3)


@each_base
def test_reverse_kl_step(base: str) -> None:
    flow = build("realnvp", base, actnorm=False)
    if isinstance(flow.base, bases.SphericalVonMisesFisherMixture):
        flow.base.logits.requires_grad_(False)  # draws have no gradient in them
    with fake_device():
        to_device(flow.train())
        optimizer = torch.optim.AdamW(flow.parameters(), fused=True)

        def one() -> None:
            optimizer.zero_grad()
            reverse_kl(flow, lambda x: -x.square().sum(-1), 32).backward()
            optimizer.step()

        one()
        with watched():
            one()


def test_recompute_refuses_capture_before_a_first_run() -> None:
    """Before a first run it is unknown whether the layers draw random numbers."""
    flow = build("realnvp", recompute=True, actnorm=False)
    with fake_device():
        to_device(flow.train())
        x = data(flow)
        with watched(), pytest.raises(RuntimeError, match="run one step before capturing"):
            flow.log_prob(x)
        flow.log_prob(x).sum().backward()
        with watched():
            flow.log_prob(x).sum().backward()
        for module in flow.modules():
            if isinstance(module, bijections.Compose):
                module._chain.uses_rng = True  # as after a run with dropout
        with watched(), pytest.raises(RuntimeError, match="cannot be captured"):
            flow.log_prob(x)


def test_every_flow_and_base_is_covered() -> None:
    """Compared with what the packages export."""
    functions = {n for n in flows.__all__ if inspect.isfunction(getattr(flows, n))}
    assert set(FLOWS) == functions
    built = {type(bases.make_base(make(), DIM)) for make in BASES.values()}
    exported = {
        value
        for name in bases.__all__
        if inspect.isclass(value := getattr(bases, name)) and issubclass(value, Base)
    }
    abstract = {Base, bases.ProjectedBase, bases.SphericalBase}
    with_context = {bases.ConditionalNormal}  # in context_checks.py
    assert exported - abstract - with_context <= built


def test_to_device_moves_every_tensor() -> None:
    flow = build("glow", "from_distribution")
    with fake_device():
        to_device(flow)
        tensors = [*flow.parameters(), *flow.buffers()]
        assert all(t.is_cuda for t in tensors)
        assert like(tensors[0]).is_cuda

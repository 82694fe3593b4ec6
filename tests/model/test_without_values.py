"""Flows, bases, bijections and distributions whose tensors have no values.

On meta, under the default device meta, with fake tensors, and real ones that are only traced.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import Distribution, kl_divergence

from flowkernels import bases, bijections
from flowkernels import distributions as laws
from flowkernels.bijections import ActNorm, AffineCoupling, conv_conditioner, mlp_conditioner
from flowkernels.flows import Flow, glow, realnvp

IMAGE, VECTOR = (3, 8, 8), (6,)


def conditional(**options: Any) -> Flow:
    base = bases.ConditionalNormal(6, 3, hidden=(4,))
    return realnvp(6, layers=2, hidden=8, context=3, base=base, embedding=nn.Linear(2, 3),
                   context_shape=(2,), **options)  # fmt: skip


FLOWS: dict[str, tuple[Callable[[], Flow], tuple[int, ...]]] = {
    **{
        f"realnvp {base}": (lambda b=base: realnvp(6, layers=2, hidden=8, base=b), VECTOR)
        for base in bases.base_names()
    },
    "realnvp recompute": (lambda: realnvp(6, layers=2, hidden=8, recompute=True), VECTOR),
    "realnvp context": (lambda: conditional(), VECTOR),
    "realnvp context recompute": (lambda: conditional(recompute=True), VECTOR),
    "glow context": (
        lambda: glow(IMAGE, levels=2, steps=1, hidden=8, context=3, base="normal"),
        IMAGE,
    ),
    "glow": (lambda: glow(IMAGE, levels=2, steps=1, hidden=8), IMAGE),
    "glow recompute": (lambda: glow(IMAGE, levels=2, steps=1, hidden=8, recompute=True), IMAGE),
}
# Where a model is made and run: how tensors without values come to be.
WITHOUT: dict[str, tuple[Callable[[], AbstractContextManager[Any]], str]] = {
    "to meta": (nullcontext, "meta"),
    "made on meta": (lambda: torch.device("meta"), ""),
    "fake": (FakeTensorMode, ""),
}
each_flow = pytest.mark.parametrize(("make", "shape"), FLOWS.values(), ids=FLOWS)
each_way = pytest.mark.parametrize(("context", "device"), WITHOUT.values(), ids=WITHOUT)


def data(shape: tuple[int, ...], rows: int = 5, device: str | None = None) -> Tensor:
    if shape == IMAGE:
        return torch.randint(0, 256, (rows, *shape), dtype=torch.uint8, device=device)
    return torch.randn(rows, *shape, device=device)


def beside(flow: Flow, rows: int, device: str | None = None) -> tuple[Tensor, ...]:
    """The context that a flow reads for `rows` data, if it reads one."""
    if not flow.context_features:
        return ()
    return (torch.randn(rows, *flow.context_shape, device=device),)


@each_way
@each_flow
def test_flow(
    make: Callable[[], Flow],
    shape: tuple[int, ...],
    context: Callable[[], AbstractContextManager[Any]],
    device: str,
) -> None:
    with context():
        flow = make()
        flow = flow.to(device) if device else flow
        x = data(shape, device=device or None)
        given = beside(flow, 5, device or None)
        flow.train().log_prob(x, *given).mean().backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None for p in flow.parameters())
        flow.eval()
        assert flow.log_prob(x, *given).shape == (5,)
        assert flow.inverse(flow(x, *given)[0], *given)[0].shape == x.shape
        assert flow.sample(3, *given).shape == (*(5 for _ in given), 3, *shape)
        t = torch.linspace(0, 1, 4, device=device or None)
        given = beside(flow, 2, device or None)
        assert flow.interpolate(x[:2], x[2:4], t, None, *given).shape == (2, 4, *shape)
        assert type(flow).__name__ in repr(flow)


@pytest.mark.parametrize("assign", [False, True], ids=["to_empty", "assigned"])
@each_flow
def test_made_on_meta_and_loaded(
    make: Callable[[], Flow], shape: tuple[int, ...], assign: bool
) -> None:
    """Memory is taken, or tensors are given, only when the state is loaded."""
    real = make()
    given = beside(real, 5)
    real.train().log_prob(data(shape), *given)
    real.eval()
    with torch.device("meta"):
        flow = make()
    if not assign:
        flow = flow.to_empty(device="cpu")
        with torch.no_grad():
            for tensor in (*flow.parameters(), *flow.buffers()):
                tensor.fill_(float("nan") if tensor.is_floating_point() else 1)
    flow.load_state_dict(real.state_dict(), assign=assign)
    flow.eval()
    x = data(shape)
    for call in (lambda f: f.log_prob(x, *given), lambda f: f.sample(3, *given)):
        torch.manual_seed(1)
        want = call(real)
        torch.manual_seed(1)
        assert torch.equal(call(flow), want)
    assert repr(flow) == repr(real)


def traced(flow: Flow, x: Tensor, given: tuple[Tensor, ...], way: str) -> None:
    if way == "fake":
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            x, *beside_x = (mode.from_tensor(each) for each in (x, *given))
            assert flow.log_prob(x, *beside_x).shape == (len(x),)
            assert flow.sample(2, *beside_x).shape[-1 - len(flow.event_shape)] == 2
        return

    class Density(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow = flow

        def forward(self, x: Tensor, *given: Tensor) -> Tensor:
            return self.flow.log_prob(x, *given)

    torch.export.export(Density(), (x, *given), strict=False)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("way", ["fake", "export"])
@each_flow
def test_a_traced_flow_keeps_its_state(
    make: Callable[[], Flow], shape: tuple[int, ...], way: str, training: bool
) -> None:
    """An ActNorm that was only traced still starts from the first batch; Z is still estimated."""
    torch.manual_seed(0)
    flow = make().train(training)
    other, x = copy.deepcopy(flow), data(shape)
    given = beside(flow, 5)
    traced(flow, x, given, way)
    for key, value in other.state_dict().items():
        assert torch.equal(flow.state_dict()[key], value), key
    for _ in range(2):
        torch.manual_seed(1)
        want = other.log_prob(x, *given)
        torch.manual_seed(1)
        assert torch.equal(flow.log_prob(x, *given), want)


def test_exported_density() -> None:
    flow = realnvp(6, layers=2, hidden=8)
    x = data(VECTOR)
    flow.train().log_prob(x)
    flow.eval()

    class Density(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow = flow

        def forward(self, x: Tensor) -> Tensor:
            return self.flow.log_prob(x)

    program = torch.export.export(Density(), (x,), strict=False)
    torch.testing.assert_close(program.module()(x), flow.log_prob(x))


BIJECTIONS: dict[str, tuple[Callable[[], bijections.Bijection], tuple[int, ...]]] = {
    "ActNorm": (lambda: ActNorm(4), (4,)),
    "ActNormConv1x1": (lambda: bijections.ActNormConv1x1(4), (4, 2, 2)),
    "AdditiveLogRatio": (lambda: bijections.AdditiveLogRatio(4), (4,)),
    "AffineCoupling": (lambda: AffineCoupling(mlp_conditioner(2, 4)), (4,)),
    "Compose": (lambda: bijections.Compose([ActNorm(4), bijections.Flip()]), (4,)),
    "Dequantize": (bijections.Dequantize, (4,)),
    "Flip": (bijections.Flip, (4,)),
    "GlowStep": (
        lambda: bijections.GlowStep(4, AffineCoupling(conv_conditioner(2, 4, 8))),
        (4, 2, 2),
    ),
    "Inverse": (lambda: bijections.Inverse(ActNorm(4)), (4,)),
    "InvertibleConv1x1": (lambda: bijections.InvertibleConv1x1(4), (4, 2, 2)),
    "LULinear": (lambda: bijections.LULinear(4), (4,)),
    "Logit": (bijections.Logit, (4,)),
    "Permutation": (lambda: bijections.Permutation([1, 0, 3, 2]), (4,)),
    "ScaledStereographic": (lambda: bijections.ScaledStereographic(4), (4,)),
    "Permutation.random": (lambda: bijections.Permutation.random(4), (4,)),
    "Squeeze": (bijections.Squeeze, (4, 2, 2)),
    "Standardize": (lambda: bijections.Standardize(torch.zeros(4), torch.ones(4)), (4,)),
    "StickBreaking": (lambda: bijections.StickBreaking(4), (4,)),
    "VariationalDequantize": (
        lambda: bijections.VariationalDequantize(1, hidden=8),
        (1, 4, 4),
    ),
}


@each_way
@pytest.mark.parametrize(("make", "shape"), BIJECTIONS.values(), ids=BIJECTIONS)
def test_bijection(
    make: Callable[[], bijections.Bijection],
    shape: tuple[int, ...],
    context: Callable[[], AbstractContextManager[Any]],
    device: str,
) -> None:
    with context():
        layer = make()
        layer = layer.to(device) if device else layer
        for training in (True, False):
            layer.train(training)
            for rows in (3, 0):
                x = torch.rand(rows, *shape, device=device or None)
                z, log_det = layer(x)
                assert log_det.shape == (rows,)
                assert layer.inverse(z)[0].shape == x.shape
        assert type(layer).__name__ in repr(layer)


def _distributions(device: str | None, *validation: bool | None) -> Iterator[Distribution]:
    loc = torch.zeros(2, 4, device=device)
    loc[:, 0] = 1
    for validate in validation:
        yield laws.HypersphericalUniform(4, (2,), device=device, validate_args=validate)
        for law in (laws.VonMisesFisher, laws.PowerSpherical, laws.IsotropicCauchy):
            yield law(loc, torch.full((2,), 3.0, device=device), validate_args=validate)
            yield law(loc, 3.0, validate)
        yield laws.SphericalCauchy(loc, torch.full((2,), 0.5, device=device), validate)
        yield laws.SphericalCauchy(loc, 0.5, validate)


@each_way
def test_distributions(context: Callable[[], AbstractContextManager[Any]], device: str) -> None:
    with context():
        for law in _distributions(device or None, None, True, False):
            for name in ("mean", "mode", "variance"):
                assert getattr(law, name).shape == (2, 4)
            assert law.entropy().shape == (2,)
            x = law.rsample((3,))
            assert law.log_prob(x).shape == (3, 2)
            assert law.expand((5, 2)).log_prob(x[:1, None]).shape == (1, 5, 2)
            assert type(law).__name__ in repr(law)
            name = type(law).__name__
            with pytest.raises(ValueError, match=rf"{name}: value must have shape \(\*, 4\), its"):
                law.log_prob(x[..., :3])
            with pytest.raises(ValueError, match=rf"{name}: value must have .* against \(2,\)"):
                law.log_prob(torch.zeros(3, 4, device=device or None))
            with pytest.raises(ValueError, match=f"{name}: value must be on {x.device}"):
                law.log_prob(torch.zeros(2, 4, device="cpu" if x.is_meta else "meta"))
            if hasattr(law, "fit"):
                with pytest.raises(ValueError, match=r"fit: samples must have values"):
                    law.fit(x)


REFUSED = {
    (laws.PowerSpherical, laws.PowerSpherical),
    (laws.PowerSpherical, laws.SphericalCauchy),
    (laws.VonMisesFisher, laws.SphericalCauchy),
}


@each_way
def test_divergences(context: Callable[[], AbstractContextManager[Any]], device: str) -> None:
    tried = 0
    with context():
        for validate in (None, True, False):
            made = _distributions(device or None, validate)
            sphere = [d for d in made if type(d) is not laws.IsotropicCauchy]
            for p, q in itertools.product(sphere, sphere):
                if (type(p), type(q)) in REFUSED:
                    continue
                assert kl_divergence(p, q).shape == (2,)
                tried += 1
    assert tried == 3 * (7 * 7 - 3 * 4)


def test_permutations_without_values() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"once, got \[0, 2\]"):
        bijections.Permutation([0, 2])
    order = torch.empty(3, dtype=torch.long, device="meta")
    assert bijections.Permutation(order)(torch.empty(2, 3, device="meta"))[0].shape == (2, 3)
    with pytest.raises(ValueError, match=r"once, got shape \(1, 3\)"):
        bijections.Permutation(order[None])

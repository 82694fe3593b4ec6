"""What may change between two calls of an accelerated layer, and what the report says of calls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.adapter_models import VECTORS
from benchmarks.steps import have
from flowkernels import adapters

from .parity import moved

pytest.importorskip("nflows", reason="nflows is not installed (extra `peers`)")

from nflows.nn.nets import ResidualNet
from nflows.transforms import AffineCouplingTransform

MASK = [1, -1, 1, -1]


def layer(**options: Any) -> Any:
    return moved(AffineCouplingTransform(MASK, lambda a, b: ResidualNet(a, b, 8, **options)))


def agrees(ours: Any, x: Tensor | None = None, served: int = 1) -> None:
    """That a layer computes what a plain copy of it does, here or at the library's."""
    x = torch.randn(9, 4, dtype=next(ours.parameters()).dtype) if x is None else x
    plain = adapters.restore(copy.deepcopy(ours))
    adapters.report().reset()
    got = ours(x)
    assert adapters.report().served == served
    for a, b in zip(got, plain(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_parameters_may_be_replaced_cast_and_set_in_place() -> None:
    ours = adapters.accelerate(layer())
    agrees(ours)
    ours.load_state_dict({k: v.clone() for k, v in layer().state_dict().items()}, assign=True)
    agrees(ours)
    ours.double()
    agrees(ours)
    with torch.no_grad():
        ours.transform_net.initial_layer.weight.mul_(2)
    agrees(ours)
    x = torch.randn(3, 4, dtype=torch.float64)
    other = {name: p.detach() + 0.1 for name, p in ours.named_parameters()}
    got = torch.func.functional_call(ours, other, (x,))
    expected = torch.func.functional_call(adapters.restore(copy.deepcopy(ours)), other, (x,))
    torch.testing.assert_close(got, expected)


def test_masks_may_be_loaded() -> None:
    ours = adapters.accelerate(layer())
    agrees(ours)
    turned = AffineCouplingTransform([-1, 1, -1, 1], lambda a, b: ResidualNet(a, b, 8))
    ours.load_state_dict(turned.state_dict())
    agrees(ours)
    x = torch.randn(3, 4)
    torch.testing.assert_close(ours(x), turned(x), rtol=1e-4, atol=1e-4)


def test_the_network_may_be_replaced() -> None:
    ours = adapters.accelerate(layer())
    agrees(ours)
    ours.transform_net = ResidualNet(2, 4, 16)
    agrees(ours)
    ours.transform_net.blocks[0] = copy.deepcopy(ours.transform_net.blocks[1])
    agrees(ours)
    ours.transform_net.blocks[0].activation = torch.tanh
    agrees(ours)
    torch.nn.utils.parametrizations.weight_norm(ours.transform_net.final_layer)
    agrees(ours)


def test_hooks_of_the_network_are_called() -> None:
    ours = adapters.accelerate(layer())
    agrees(ours)
    called = []
    handle = ours.transform_net.blocks[0].register_forward_hook(lambda *_: called.append(1))
    agrees(ours)
    assert called
    handle.remove()
    called.clear()
    agrees(ours)
    assert not called
    with nn.modules.module.register_module_forward_hook(lambda *_: called.append(1)):
        agrees(ours)
    # The layer's own, its network's and that of all inside, and the same of the plain copy.
    assert len(called) > 10


def test_active_dropout_is_left_to_the_network() -> None:
    ours = adapters.accelerate(layer(dropout_probability=0.5))
    x = torch.randn(9, 4)
    ours.train()
    draws = []
    for module in (ours, adapters.restore(copy.deepcopy(ours))):
        torch.manual_seed(3)
        draws.append(module(x))
    torch.testing.assert_close(draws[0], draws[1], rtol=1e-4, atol=1e-4)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    agrees(ours)
    assert torch.equal(ours(x)[0], ours(x)[0])


class Doubled(AffineCouplingTransform):
    """A user's own inverse and scale."""

    def _scale_and_shift(self, transform_params: Tensor) -> Any:
        return super()._scale_and_shift(2 * transform_params)


class Counted(AffineCouplingTransform):
    """A user's own method around the library's."""

    calls = 0

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Any:
        self.calls += 1
        return super().forward(inputs, context)


class Named(AffineCouplingTransform):
    """A user's class that changes nothing."""


def test_classes_of_users() -> None:
    def make(kind: type) -> Any:
        return moved(kind(MASK, lambda a, b: ResidualNet(a, b, 8)))

    adapters.report().reset()
    named, counted, doubled = (adapters.accelerate(make(k)) for k in (Named, Counted, Doubled))
    (record,) = adapters.report().records.values()
    assert record.accelerated == 1
    assert record.left_modules == {
        "Counted has its own `forward`": 1, "Doubled has its own `_scale_and_shift`": 1,
    }  # fmt: skip
    assert type(counted) is Counted
    agrees(named)
    x = torch.randn(9, 4)
    expected = [module(x) for module in (counted, doubled)]
    with adapters.patch("nflows"):
        adapters.report().reset()
        got = [module(x) for module in (counted, doubled)]
        (record,) = adapters.report().records.values()
        # What `super().forward` means is served; what is computed otherwise is not.
        assert record.served == 1
        assert record.left == {"Doubled has its own `_scale_and_shift`": 1}
    assert counted.calls == 2
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_half_precision() -> None:
    """Log-dets are float32 and closer to those of float64 than the library's."""
    torch.manual_seed(0)
    plain = moved(AffineCouplingTransform(
        torch.arange(512) % 2, lambda a, b: ResidualNet(a, b, 16)
    ))  # fmt: skip
    ours = adapters.accelerate(copy.deepcopy(plain)).bfloat16()
    x = torch.randn(64, 512).bfloat16()
    y, log_det = ours(x)
    assert y.dtype == torch.bfloat16
    assert log_det.dtype == torch.float32
    exact = copy.deepcopy(ours).double()(x.double())[1]
    theirs = plain.bfloat16()(x)[1]
    assert theirs.dtype == torch.bfloat16
    assert (log_det - exact).abs().mean() < 0.2 * (theirs - exact).abs().mean()


@pytest.mark.parametrize("flow", [(n, f) for n, made in VECTORS.items() for f in made], ids=str)
def test_autocast(flow: tuple[str, str]) -> None:
    library, name = flow
    if not have(library):
        pytest.skip(f"{library} is not installed (extra `peers`)")
    model = VECTORS[library][name](4)
    plain = moved(model.module, 0.02)
    ours = adapters.accelerate(copy.deepcopy(plain))
    x = torch.randn(8, 4)
    with torch.no_grad():
        expected = model.log_prob(plain, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            adapters.report().reset()
            got = model.log_prob(ours, x)
            assert adapters.report().served > 0
        # To the precision of the products in bfloat16.
        torch.testing.assert_close(got.float(), expected, rtol=0.1, atol=2.0)


# The compiler looks at `.grad` of what it keeps from before a break in zuko's own code.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    ("library", "name", "whole"),
    [("nflows", "RealNVP", True), ("nflows", "NSF", True), ("normflows", "NSF", True),
     ("zuko", "NSF", False), ("FrEIA", "GLOW", True)],
)  # fmt: skip
def test_compiled(library: str, name: str, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not have(library):
        pytest.skip(f"{library} is not installed (extra `peers`)")
    monkeypatch.setattr("benchmarks.adapter_models.LAYERS", 2)
    model = VECTORS[library][name](4)
    plain = moved(model.module, 0.02)
    ours = adapters.accelerate(copy.deepcopy(plain))
    x = torch.randn(8, 4)
    expected = model.log_prob(plain, x)
    torch._dynamo.reset()
    # zuko's own code breaks the graph where it composes transforms.
    options: dict[str, Any] = {"backend": "aot_eager", "fullgraph": whole}
    log_prob: Callable[[Tensor], Tensor] = torch.compile(
        lambda x: model.log_prob(ours, x), **options
    )
    adapters.report().reset()
    got = log_prob(x)
    got.mean().backward()
    assert adapters.report().served == 0
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert all(p.grad is not None for p in ours.parameters() if p.requires_grad)


def test_the_report() -> None:
    ours = layer()
    adapters.report().reset()
    assert str(adapters.report()) == "nothing was replaced"
    adapters.accelerate(ours)
    ours(torch.randn(2, 4))
    ours.inverse(torch.randn(2, 4))
    with pytest.raises(ValueError, match="2D or a 4D"):
        ours(torch.randn(2, 4, 1))
    report = adapters.report()
    assert str(report) == (
        "nflows.AffineCouplingTransform: 2 calls served, 1 left to the library; 1 modules "
        "accelerated, 0 left\n    1 calls left: an input that the library refuses"
    )
    report.reset()
    assert report.served == 2
    assert adapters.report().served == 0


def test_vmap_and_jacobians() -> None:
    ours = adapters.accelerate(layer())
    x = torch.randn(4)

    def one(x: Tensor) -> Tensor:
        return ours(x[None])[0][0]

    jacobian = torch.func.jacrev(one)(x)
    torch.testing.assert_close(
        jacobian.det().abs().log(), ours(x[None])[1][0], rtol=1e-4, atol=1e-4
    )

"""What `accelerate`, `restore`, `patch` and `report` promise of every library's flows."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.adapter_models import IMAGES, VECTORS, Model, images
from benchmarks.steps import have
from flowkernels import adapters
from flowkernels.adapters.replacement import plain_class

from .parity import moved

# normflows' Glow calls torch.lu.
pytestmark = pytest.mark.filterwarnings("ignore:torch.lu is deprecated")
DIM = 6
KNOWN = {name: {**makers, **IMAGES.get(name, {})} for name, makers in VECTORS.items()}
ALL = [(library, flow) for library, makers in KNOWN.items() for flow in makers]
FLOWS = pytest.mark.parametrize(("library", "flow"), ALL)


def arctangent(u: Tensor) -> Tensor:
    """FrEIA's default clamp, which there is a lambda and cannot be pickled."""
    return 0.636 * torch.atan(u)


def made(library: str, flow: str) -> tuple[Model, Tensor]:
    """A flow that has seen a few steps of training, and data."""
    if not have(library):
        pytest.skip(f"{library} is not installed (extra `peers`)")
    torch.manual_seed(0)
    image = flow in IMAGES.get(library, {})
    model = KNOWN[library][flow](8 if image else DIM)
    x = images(6, 8) if image else torch.randn(32, DIM)
    moved(model.module, 0.02)
    for each in model.module.modules():
        if "f_clamp" in each.__dict__:
            each.f_clamp = arctangent
    for _ in range(2):
        step(model, model.module, x)
    return model, x


def step(model: Model, module: nn.Module, x: Tensor) -> float:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4)
    optimizer.zero_grad()
    loss = -model.log_prob(module, x).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def served() -> int:
    return adapters.report().served


@FLOWS
def test_a_trained_and_pickled_flow(library: str, flow: str) -> None:
    model, x = made(library, flow)
    file = io.BytesIO()
    if flow == "AllInOne":
        # It holds a lambda, which cannot be pickled: the weights are what is saved.
        torch.save(model.module.state_dict(), file)
        file.seek(0)
        plain = copy.deepcopy(model.module)
        plain.load_state_dict(torch.load(file))
    else:
        torch.save(model.module, file)
        file.seek(0)
        plain = torch.load(file, weights_only=False)
    ours = adapters.accelerate(copy.deepcopy(plain))
    adapters.report().reset()
    with torch.no_grad():
        got, expected = (model.log_prob(module, x) for module in (ours, plain))
    assert served() > 0
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-4)

    # It trains as the plain one does, whose state it shares the names of.
    losses = [[step(model, module, x) for _ in range(3)] for module in (ours, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)
    assert losses[0][2] < losses[0][0]
    missing = plain.load_state_dict(ours.state_dict())
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    torch.testing.assert_close(
        model.log_prob(plain, x), model.log_prob(ours, x), rtol=1e-5, atol=2e-4
    )


@FLOWS
def test_copies_and_restored_flows(library: str, flow: str) -> None:
    model, x = made(library, flow)
    module = adapters.accelerate(model.module)
    expected = model.log_prob(module, x)
    kinds = {type(each) for each in module.modules() if plain_class(type(each)) is not type(each)}
    assert kinds
    for copied in (copy.deepcopy(module), copy.copy(module)):
        assert kinds <= {type(each) for each in copied.modules()}
        adapters.report().reset()
        torch.testing.assert_close(model.log_prob(copied, x), expected)
        assert served() > 0
    # A copy has parameters of its own.
    copied = copy.deepcopy(module)
    moved(copied)
    assert not torch.allclose(model.log_prob(copied, x), expected)
    torch.testing.assert_close(model.log_prob(module, x), expected)

    assert adapters.restore(module) is module
    assert not kinds & {type(each) for each in module.modules()}
    adapters.report().reset()
    torch.testing.assert_close(model.log_prob(module, x), expected, rtol=1e-5, atol=2e-4)
    assert served() == 0


@FLOWS
def test_accelerating_twice_and_by_parts(library: str, flow: str) -> None:
    model, _ = made(library, flow)
    module = adapters.accelerate(model.module)
    kinds = [type(each) for each in module.modules()]
    adapters.report().reset()
    for each in module.modules():
        adapters.accelerate(each)
    assert kinds == [type(each) for each in module.modules()]
    assert all(isinstance(each, plain_class(type(each))) for each in module.modules())
    assert str(module) == str(adapters.restore(copy.deepcopy(module)))


class WithoutUs(pickle.Unpickler):
    """Reads what needs no flowkernels."""

    def find_class(self, module: str, name: str) -> Any:
        assert not module.startswith("flowkernels"), (module, name)
        return super().find_class(module, name)


@FLOWS
@pytest.mark.parametrize("patched", [False, True], ids=["accelerated", "patched"])
def test_saved_flows_need_no_flowkernels(library: Any, flow: str, patched: bool) -> None:
    if flow == "AllInOne":
        pytest.skip("FrEIA's AllInOneBlock holds a lambda, which cannot be pickled")
    model, x = made(library, flow)
    expected = model.log_prob(model.module, x)
    if patched:
        with adapters.patch(library):
            model.log_prob(model.module, x)
            saved = pickle.dumps(model.module)
    else:
        module = adapters.accelerate(model.module)
        model.log_prob(module, x)
        saved = pickle.dumps(module)
    loaded = WithoutUs(io.BytesIO(saved)).load()
    assert all(plain_class(type(each)) is type(each) for each in loaded.modules())
    assert torch.equal(model.log_prob(loaded, x), expected)


# ---- patch ----------------------------------------------------------------------------------


def methods(library: Any) -> dict[str, Any]:
    """What the classes that are replaced have themselves."""
    from flowkernels.adapters.acceleration import replacements_of

    return {
        f"{r.path}.{name}": r.plain.__dict__.get(name)
        for r in replacements_of(library)
        if r.plain is not None
        for name in r.methods
    }


@FLOWS
def test_patched_flows(library: Any, flow: str) -> None:
    model, x = made(library, flow)
    expected = model.log_prob(model.module, x)
    before = methods(library)
    with adapters.patch(library):
        adapters.report().reset()
        got = model.log_prob(model.module, x)
        assert served() > 0
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-4)
    assert methods(library) == before
    adapters.report().reset()
    assert torch.equal(model.log_prob(model.module, x), expected)
    assert served() == 0


@pytest.fixture(params=list(VECTORS))
def library(request: pytest.FixtureRequest) -> Iterator[Any]:
    if not have(request.param):
        pytest.skip(f"{request.param} is not installed (extra `peers`)")
    before = methods(request.param)
    yield request.param
    assert methods(request.param) == before


def test_nested_patches(library: Any) -> None:
    before = methods(library)
    with adapters.patch(library):
        inside = methods(library)
        assert inside != before
        with adapters.patch(library):
            assert methods(library) == inside
        assert methods(library) == inside
        patch = adapters.patch(library).install()
        with pytest.raises(RuntimeError, match="is not installed"):
            adapters.patch(library).remove()
        patch.remove()
        with pytest.raises(RuntimeError, match="is not installed"):
            patch.remove()


def test_a_patch_ends_with_an_exception(library: Any) -> None:
    before = methods(library)

    def fails() -> None:
        with adapters.patch(library):
            assert methods(library) != before
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert methods(library) == before


def test_accelerated_flows_under_a_patch(library: Any) -> None:
    flow = next(iter(VECTORS[library]))
    model, x = made(library, flow)
    expected = model.log_prob(model.module, x)
    with adapters.patch(library):
        adapters.accelerate(model.module)
        got = model.log_prob(model.module, x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-4)
    adapters.report().reset()
    torch.testing.assert_close(model.log_prob(model.module, x), got)
    assert served() > 0


def test_refused_arguments() -> None:
    with pytest.raises(ValueError, match="library must be nflows, normflows, zuko or FrEIA"):
        adapters.patch("jax")  # type: ignore[arg-type]
    for function in (adapters.accelerate, adapters.restore):
        with pytest.raises(TypeError, match=r"module must be a torch\.nn.Module, got int"):
            function(3)  # type: ignore[type-var]

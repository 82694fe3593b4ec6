"""All parameters of a module in one tensor."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from flowkernels.adapters.packed import PackedParameters
from flowkernels.flows import Flow, maf, nsf, realnvp


class Estimator(nn.Module):
    """A flow and its packed parameters side by side, as `FlowEstimator` holds them."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        self.packed = PackedParameters(flow)

    def forward(self, x: Tensor) -> Tensor:
        with self.packed.unpacked():
            return -self.flow.log_prob(x).mean()


MAKERS: list[Callable[[], Flow]] = [
    lambda: realnvp(4, layers=3, hidden=8, actnorm=False),
    lambda: maf(4, layers=2, hidden=8, actnorm=False),
    lambda: maf(4, layers=2, hidden=8, actnorm=False, transform="spline"),
    lambda: nsf(4, layers=2, hidden=8, actnorm=False),
]


def pair(make: Callable[[], Flow] = MAKERS[-1]) -> tuple[Flow, Estimator, Tensor]:
    """A flow, the same one packed, and data."""
    flow = make()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return flow, Estimator(copy.deepcopy(flow)), torch.randn(20, 4)


def steps(module: nn.Module, loss: Callable[[], Tensor], count: int = 3) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(count):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("make", MAKERS)
def test_training_is_the_same(make: Callable[[], Flow]) -> None:
    flow, packed, x = pair(make)
    steps(flow, lambda: -flow.log_prob(x).mean())
    steps(packed, lambda: packed(x))
    assert flow.state_dict().keys() == packed.flow.state_dict().keys()
    for name, want in flow.state_dict().items():
        torch.testing.assert_close(packed.flow.state_dict()[name], want)
    torch.testing.assert_close(packed.flow.log_prob(x), flow.log_prob(x))
    assert sum(p.requires_grad for p in packed.parameters()) == 1


def test_gradients_arrive_in_any_order_of_calls() -> None:
    """Also if they are set to zero between the loss and its backward pass, and summed over two."""
    _, packed, x = pair()
    packed(x).backward()
    weights = packed.packed.weights
    assert weights.grad is not None
    want = weights.grad.clone()
    loss = packed(x)
    packed.zero_grad()
    loss.backward()
    assert torch.equal(weights.grad, want)
    packed(x).backward()
    torch.testing.assert_close(weights.grad, 2 * want)


def test_saved_are_the_modules_own_parameters() -> None:
    flow, packed, x = pair()
    assert list(packed.state_dict()) == [f"flow.{name}" for name in flow.state_dict()]
    other = pair()[1]
    other.load_state_dict(packed.state_dict())
    assert torch.equal(other.packed.weights, packed.packed.weights)
    flow.load_state_dict(packed.flow.state_dict())
    assert torch.equal(flow.log_prob(x), packed.flow.log_prob(x))


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_weights_are_trained_on(assign: bool) -> None:
    flow, packed, x = pair()
    other = pair()[1]
    other.load_state_dict(packed.state_dict(), assign=assign)
    assert other(x) == packed(x)
    steps(flow, lambda: -flow.log_prob(x).mean())
    steps(other, lambda: other(x))
    torch.testing.assert_close(other.flow.log_prob(x), flow.log_prob(x))


def _saved(module: Estimator) -> Estimator:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded: Estimator = torch.load(file, weights_only=False)
    return loaded


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), _saved],
    ids=["deepcopy", "pickle", "save"],
)  # fmt: skip
def test_copies_are_trained_alone(duplicate: Callable[[Estimator], Estimator]) -> None:
    flow, packed, x = pair()
    again = duplicate(packed)
    before = packed(x)
    steps(flow, lambda: -flow.log_prob(x).mean())
    steps(again, lambda: again(x))
    torch.testing.assert_close(again.flow.log_prob(x), flow.log_prob(x))
    assert packed(x) == before


def test_conversions() -> None:
    flow, packed, x = pair()
    weights = packed.packed.weights
    packed.double()
    assert packed.packed.weights is weights
    assert weights.dtype == torch.float64
    steps(packed, lambda: packed(x.double()))
    flow.double()
    steps(flow, lambda: -flow.log_prob(x.double()).mean())
    torch.testing.assert_close(packed.flow.log_prob(x.double()), flow.log_prob(x.double()))


def test_no_gradient_where_none_is_wanted() -> None:
    _, packed, x = pair()
    with torch.no_grad():
        assert not packed(x).requires_grad
    packed.packed.weights.requires_grad_(False)
    assert not packed(x).requires_grad


def test_parameters_are_in_place_after_an_error() -> None:
    _, packed, x = pair()
    with pytest.raises(ValueError, match="x must have shape"):
        packed(x[:, :3])
    assert all(isinstance(p, nn.Parameter) for p in packed.flow.parameters())
    steps(packed, lambda: packed(x))


def test_refusals() -> None:
    shared = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    shared[1].weight = shared[0].weight
    for module in (shared, nn.ReLU()):
        with pytest.raises(ValueError, match=r"PackedParameters: module must have .* got"):
            PackedParameters(module)

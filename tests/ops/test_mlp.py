"""What the shared checker does not ask of mlp."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowkernels import ops
from flowkernels.bijections.coupling import ReluNetwork
from flowkernels.ops import reference

from .mlp import network_sample


@pytest.mark.parametrize("rows", [3072, 3073, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_many_rows(rows: int, dtype: torch.dtype) -> None:
    """Gradients are sums over several blocks of rows in each of several parts."""
    sample = network_sample((rows,), 3, 24, 2).to(dtype)
    x, *layers = sample.leaves().tensors
    exact = sample.to(torch.float64).leaves().tensors

    def gradients(f: object, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        y = f(tensors[0], tensors[1::2], tensors[2::2])  # type: ignore[operator]
        return torch.autograd.grad(y.square().sum(), tensors)

    for got, want in zip(
        gradients(ops.mlp, (x, *layers)), gradients(reference.mlp, exact), strict=True
    ):
        torch.testing.assert_close(
            got.double(), want, rtol=64 * torch.finfo(dtype).eps, atol=0, msg=str(got.shape)
        )


def test_only_what_is_asked_for() -> None:
    x, w, b, v, c = (t.float() for t in network_sample((7,), 3, 5, 2).tensors)
    everything = [t.requires_grad_() for t in (x, w, b, v, c)]
    want = torch.autograd.grad(ops.mlp(x, [w, v], [b, c]).sum(), everything)
    for chosen in ([0], [1], [2, 3], [4], [0, 4]):
        fixed = [t if i in chosen else t.detach() for i, t in enumerate(everything)]
        y = ops.mlp(fixed[0], fixed[1::2], fixed[2::2])
        got = torch.autograd.grad(y.sum(), [fixed[i] for i in chosen])
        for i, g in zip(chosen, got, strict=True):
            assert torch.equal(g, want[i])


def test_nan_and_infinity_pass_as_in_torch() -> None:
    x = torch.tensor([[torch.nan, 1.0], [torch.inf, 1.0], [-torch.inf, 1.0]], requires_grad=True)
    w, b = torch.tensor([[1.0, 0.25], [0.5, 1.0]]), torch.zeros(2)
    results = []
    for function in (ops.mlp, reference.mlp):
        y = function(x, [w, w], [b, b])
        (g,) = torch.autograd.grad(y.sum(), x)
        results.append(torch.cat([y, g], 1).detach())
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)
    assert results[0][0, :2].isnan().all()


def test_a_weight_changed_before_backward_is_noticed() -> None:
    x, w, b, v, c = (t.requires_grad_() for t in network_sample((7,), 3, 5, 2).tensors)
    y = ops.mlp(x, [w, v], [b, c]).sum()
    with torch.no_grad():
        v.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_backward_twice() -> None:
    x, w, b = (t.requires_grad_() for t in network_sample((7,), 3, 5).tensors)
    y = ops.mlp(x, [w], [b]).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


class Doubled(nn.Linear):
    """A layer of another kind."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the linear layer."""
        return 2 * super().forward(x)


def test_a_network_is_the_sequence_of_its_layers() -> None:
    torch.manual_seed(0)
    network = ReluNetwork.of_widths(3, 8, 2)
    x = torch.randn(5, 3)
    plain = nn.Sequential(*network)
    torch.testing.assert_close(network(x), plain(x))
    seen = []
    handle = network[1].register_forward_hook(lambda *args: seen.append(args[2].shape))
    torch.testing.assert_close(network(x), plain(x))
    handle.remove()
    assert seen == [(5, 8), (5, 8)]
    network[0] = Doubled(3, 8)
    torch.testing.assert_close(network(x), nn.Sequential(*network)(x))


def test_a_network_needs_two_widths() -> None:
    with pytest.raises(ValueError, match="widths"):
        ReluNetwork.of_widths(3)

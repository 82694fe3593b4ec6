"""What the shared checker does not ask of identity_split and affine_coupling_mlp."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.bijections import AffineCoupling, mlp_conditioner
from flowkernels.ops import reference

from .mlp import network_sample


def test_the_identity_half_cannot_be_changed_in_place() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    kept, whole = ops.identity_split(x, 2)
    for view in (kept, whole):
        with pytest.raises(RuntimeError, match="modified inplace"):
            view.relu_()


def test_what_is_saved_of_the_input_notices_its_changes() -> None:
    x = torch.randn(3, 4, requires_grad=True).clone()
    kept, _ = ops.identity_split(x, 2)
    y = kept.square().sum()
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="has been modified inplace"):
        y.backward()


@pytest.mark.parametrize("transform", ["first", "second"])
def test_gradients_that_others_hold_stay_as_they_are(transform: str) -> None:
    """The kept half's gradient is added in place only to memory that nobody else sees."""
    x = torch.randn(3, 4, requires_grad=True)
    kept, whole = ops.identity_split(x, 3, transform=transform)  # type: ignore[arg-type]
    given, of_kept = torch.randn(3, 4), torch.randn(3, 1)
    before = given.clone()
    seen: list[Tensor] = []
    whole.register_hook(seen.append)
    torch.autograd.backward([whole, kept], [given, of_kept])
    assert torch.equal(given, before)
    assert torch.equal(seen[0], before)
    assert x.grad is not None
    want = before.clone()
    want[:, 3:] += of_kept if transform == "first" else 0
    want[:, :1] += of_kept if transform == "second" else 0
    assert torch.equal(x.grad, want)


@pytest.mark.parametrize("used", ["kept", "whole", "both"])
def test_parts_that_nobody_uses(used: str) -> None:
    gradients = []
    for split in (ops.identity_split, reference.identity_split):
        x = torch.arange(6.0).reshape(2, 3).requires_grad_()
        kept, whole = split(x, 1)
        loss = sum(t.square().sum() for n, t in (("kept", kept), ("whole", whole))
                   if used in (n, "both"))  # fmt: skip
        gradients.append(torch.autograd.grad(loss, x)[0])  # type: ignore[arg-type]
    assert torch.equal(*gradients)


def layer(*, rows: int = 7) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    x, w, b, v, c = (t.float() for t in network_sample((rows,), 3, 5, 4).tensors)
    x = torch.cat([x, x[:, :2]], 1)
    return x.requires_grad_(), [w.requires_grad_(), v.requires_grad_()], [b, c.requires_grad_()]


@pytest.mark.parametrize("output", [0, 1])
def test_one_output_alone(output: int) -> None:
    x, weights, biases = layer()
    inputs = [x, *weights, biases[1]]
    results = []
    for function in (ops.affine_coupling_mlp, reference.affine_coupling_mlp):
        y = function(x, weights, biases)[output]
        results.append(torch.autograd.grad(y.square().sum(), inputs, materialize_grads=True))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_only_what_is_asked_for() -> None:
    x, weights, biases = layer()
    inputs = [x, *weights, biases[1]]
    want = torch.autograd.grad(sum(o.sum() for o in ops.affine_coupling_mlp(x, weights, biases)),
                               inputs)  # type: ignore[arg-type]  # fmt: skip
    for chosen in ([0], [1], [2, 3], [0, 3]):
        fixed = [t if i in chosen else t.detach() for i, t in enumerate(inputs)]
        out = ops.affine_coupling_mlp(fixed[0], fixed[1:3], [biases[0], fixed[3]])
        got = torch.autograd.grad(out[0].sum() + out[1].sum(), [fixed[i] for i in chosen])
        for i, g in zip(chosen, got, strict=True):
            torch.testing.assert_close(g, want[i])


def test_a_weight_changed_before_backward_is_noticed() -> None:
    x, weights, biases = layer()
    y = ops.affine_coupling_mlp(x, weights, biases)[0].sum()
    with torch.no_grad():
        weights[1].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_backward_twice() -> None:
    x, weights, biases = layer()
    y = ops.affine_coupling_mlp(x, weights, biases)[0].sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_a_layer_calls_a_conditioner_that_somebody_listens_to() -> None:
    torch.manual_seed(0)
    coupling = AffineCoupling(mlp_conditioner(3, 6, hidden=(8,)))
    torch.nn.init.normal_(coupling.conditioner[2].weight)  # type: ignore[index]
    x = torch.randn(5, 6)
    want = coupling(x)
    seen: list[torch.Size] = []
    hook = coupling.conditioner.register_forward_hook(lambda *a: seen.append(a[2].shape))
    for got, expected in zip(coupling(x), want, strict=True):
        torch.testing.assert_close(got, expected)
    hook.remove()
    coupling.conditioner[1].register_forward_hook(lambda *a: seen.append(a[2].shape))  # type: ignore[index]
    for got, expected in zip(coupling(x), want, strict=True):
        torch.testing.assert_close(got, expected)
    assert seen == [(5, 6), (5, 8)]


def test_slices_of_a_network_are_sequences() -> None:
    network = mlp_conditioner(3, 6, hidden=(8, 8))
    x = torch.randn(5, 3)
    hidden = network[:2](x)
    assert torch.equal(hidden, network[0](x).relu())
    torch.testing.assert_close(network[2:](hidden), network(x))
    torch.testing.assert_close(network[:3](x), network[2](hidden))


def test_a_network_must_fit_the_halves() -> None:
    """Of 5 channels the first 2 are moved, not 3."""
    fits = AffineCoupling(mlp_conditioner(3, 4), transform="first")
    assert fits(torch.randn(7, 5))[0].shape == (7, 5)
    other = AffineCoupling(mlp_conditioner(2, 6), transform="first")
    with pytest.raises(ValueError, match=r"weights\[0\]"):
        other(torch.randn(7, 5))

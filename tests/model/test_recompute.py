"""Flows that recompute activations have the same gradients as flows that store them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from flowkernels.bases import make_base
from flowkernels.bijections import AffineCoupling, Compose, mlp_conditioner
from flowkernels.flows import Flow, glow, nsf, realnvp
from flowkernels.ops.affine_coupling import Transform


def images() -> tuple[Flow, Tensor]:
    flow = glow((1, 8, 8), levels=2, steps=4, hidden=8, dequantize=False, base="normal")
    return flow, torch.randn(16, 1, 8, 8)


def vectors() -> tuple[Flow, Tensor]:
    return realnvp(6, layers=8, hidden=16), torch.randn(64, 6)


def splines() -> tuple[Flow, Tensor]:
    return nsf(6, layers=4, hidden=16), torch.randn(64, 6)


def with_dropout() -> tuple[Flow, Tensor]:
    def layer(transform: Transform) -> AffineCoupling:
        network = nn.Sequential(nn.Dropout(0.3), *mlp_conditioner(3, 6, (16,)))
        return AffineCoupling(network, transform=transform)

    return Flow(Compose([layer("second"), layer("first")]), make_base("normal", 6)), torch.randn(
        64, 6
    )


CASES: list[Callable[[], tuple[Flow, Tensor]]] = [images, vectors, splines, with_dropout]
each_case = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)


def trained(make: Callable[[], tuple[Flow, Tensor]]) -> tuple[Flow, Tensor]:
    """An initialised flow with perturbed couplings."""
    torch.manual_seed(0)
    flow, x = make()
    flow.log_prob(x)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return flow, x


def gradients(flow: nn.Module, x: Tensor, *, autocast: bool = False) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = flow.log_prob(x).mean()  # type: ignore[operator]
    wanted = (x, *flow.parameters())
    return (loss.detach(), *torch.autograd.grad(loss, wanted))


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...], allowed: float) -> None:
    for a, b in zip(got, want, strict=True):
        assert (a - b).norm() <= allowed * b.norm()


@each_case
def test_gradients_match_stored_activations(make: Callable[[], tuple[Flow, Tensor]]) -> None:
    flow, x = trained(make)
    want = gradients(flow, x)
    after_stored = torch.rand(())
    flow.recompute = True
    assert_same(gradients(flow, x), want, 1e-5)
    assert torch.rand(()) == after_stored  # recomputation restored the generator


@each_case
def test_recomputation_restores_autocast(make: Callable[[], tuple[Flow, Tensor]]) -> None:
    flow, x = trained(make)
    want = gradients(flow, x, autocast=True)
    flow.recompute = True
    got = gradients(flow, x, autocast=True)
    # bfloat16 networks: a last-bit change of an input can change a bfloat16 rounding
    assert_same(got[:1], want[:1], 1e-5)
    # and moves the knots of a spline, which moves gradients further
    assert_same(got, want, 4e-2 if make is splines else 2e-2)
    assert any(
        (a - b).norm() > 1e-4 * b.norm() for a, b in zip(got, gradients(flow, x), strict=True)
    )


@each_case
def test_frozen_parameters_and_no_grad(make: Callable[[], tuple[Flow, Tensor]]) -> None:
    flow, x = trained(make)
    want = gradients(flow, x)
    flow.recompute = True
    first, *others = flow.parameters()
    first.requires_grad_(False)
    torch.manual_seed(1)
    got = torch.autograd.grad(flow.log_prob(x).mean(), others)
    assert_same(got, want[3:], 1e-5)
    with torch.no_grad():
        torch.manual_seed(1)
        assert flow.log_prob(x).grad_fn is None


def kept_bytes(flow: Flow, x: Tensor) -> int:
    """Bytes that autograd saves for the backward pass, without the parameters."""
    own = {p.untyped_storage().data_ptr() for p in flow.parameters()}
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = flow.log_prob(x).mean()
    loss.backward()
    return sum(kept.values())


def test_memory_does_not_grow_with_the_steps() -> None:
    x = torch.randn(32, 1, 16, 16)
    sizes = {}
    for recompute in (False, True):
        for steps in (4, 16):
            flow = glow(
                (1, 16, 16), levels=1, steps=steps, hidden=8, dequantize=False, recompute=recompute
            )
            sizes[recompute, steps] = kept_bytes(flow, x)
    assert sizes[False, 16] > 3.5 * sizes[False, 4]
    assert sizes[True, 16] < 1.3 * sizes[True, 4]
    assert sizes[True, 4] < sizes[False, 4] / 3


def test_rejects_second_derivatives() -> None:
    flow, x = trained(vectors)
    flow.recompute = True
    x.requires_grad_()
    (grad,) = torch.autograd.grad(flow.log_prob(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


class Loss(nn.Module):
    """A module for DistributedDataParallel, which calls only `forward`."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x).mean()


def _one_rank(rank: int, folder: str) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    flow, x = trained(images)
    flow.recompute = True
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=1)
    nn.parallel.DistributedDataParallel(Loss(flow))(x).backward()
    torch.save([p.grad for p in flow.parameters()], f"{folder}/gradients.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
def test_data_parallel(tmp_path: Path) -> None:
    """The gradient hooks of DistributedDataParallel see every parameter.

    Runs in a separate process: destroying gloo's threads may deadlock on the interpreter lock.
    """
    want = gradients(*trained(images))[2:]
    mp.spawn(_one_rank, args=(str(tmp_path),), nprocs=1)
    grads = torch.load(tmp_path / "gradients.pt")
    assert all(g is not None for g in grads)
    assert_same(tuple(grads), want, 1e-5)


def test_recompute_skips_chains_with_inexact_inverses() -> None:
    flow = glow((1, 8, 8), levels=1, steps=2, hidden=8, recompute=True)
    assert flow.recompute
    chains = [m for m in flow.bijection.modules() if getattr(m, "recompute", False)]
    assert len(chains) == 1  # the Glow steps, not the chain with the logit
    flow.recompute = False
    assert not any(getattr(m, "recompute", False) for m in flow.bijection.modules())

"""Run by test_other_devices.py in a process that has the device of plug_in.py."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.flows import realnvp
from flowkernels.ops import _other_devices
from flowkernels.ops._declaration import PUBLIC, PublicOp

from . import plug_in

DEVICE = plug_in.install()
SIZES = {"rows": (5, 4), "images": (5, 4, 3), "elements": (5,), "matrices": (5, 4),
         "networks": (5, 8)}  # fmt: skip
OPS = [op for op in PUBLIC.values() if op.name != "tangent_normal"]  # its seed is no input here


@pytest.fixture(autouse=True)
def _warned_anew() -> Iterator[None]:
    """Each test as in a new process."""
    _other_devices._warned.clear()
    yield
    _other_devices._warned.clear()


def call(op: PublicOp, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    out = op.inputs.call(op.function, SIZES[op.inputs.sizes], tensors)
    return out if isinstance(out, tuple) else (out,)


def inputs(op: PublicOp) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    return op.inputs.tensors(SIZES[op.inputs.sizes])


def assert_same(found: Any, wanted: Any) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.device.type == plug_in.NAME
        torch.testing.assert_close(plug_in.got(a), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_formulas_serve(op: PublicOp) -> None:
    tensors = inputs(op)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call(op, tuple(map(plug_in.put, tensors)))
        call(op, tuple(map(plug_in.put, tensors)))
    assert_same(found, call(op, tensors))
    texts = [str(w.message) for w in caught]
    assert len(texts) == len(set(texts))  # once for each op of the dispatcher
    if op.name in ("mlp", "identity_split"):  # they consist of torch's ops
        assert not texts
        return
    # By the name of the op that has the kernels; the Bessel family's by the public one.
    named = op.name if op.served_by[0] == "bessel" else op.served_by[0].removesuffix("_cosine")
    named = named.removesuffix("_backward").removesuffix("_mlp")
    assert any(
        text.startswith(f"{named}: flowkernels has no kernels for elsewhere") for text in texts
    ), texts


@pytest.mark.filterwarnings("ignore:.*has no kernels")
def test_derivatives() -> None:
    torch.manual_seed(0)
    z = torch.randn(5, 3, dtype=torch.float64)
    grads = []
    for place in (lambda t: t, plug_in.put):
        x = place(z).requires_grad_()
        point, log_det = ops.stereographic(x)
        total = point.square().sum() * 0.5 + (log_det * log_det).sum() + point.sum()
        grads.append(torch.autograd.grad(total, x)[0])
    torch.testing.assert_close(plug_in.got(grads[1]), grads[0])


@pytest.mark.filterwarnings("ignore:.*has no kernels")
def test_a_flow() -> None:
    torch.manual_seed(0)
    flow = realnvp(4, layers=2, hidden=8, base="vmf", actnorm=False).eval()
    x = torch.randn(6, 4)
    wanted = flow.log_prob(x).detach()
    for module in flow.modules():
        for name, each in [*module._parameters.items(), *module._buffers.items()]:
            if each is not None:
                kept = torch.nn.Parameter if name in module._parameters else lambda t: t
                table = module._parameters if name in module._parameters else module._buffers
                table[name] = kept(plug_in.put(each.detach()))
    with torch.no_grad():
        found = flow.log_prob(plug_in.put(x))
    torch.testing.assert_close(plug_in.got(found), wanted)


@pytest.mark.filterwarnings("ignore:.*has no kernels")
def test_arguments_are_checked_as_by_kernels() -> None:
    z = torch.randn(5, 3)
    with pytest.raises(TypeError, match=r"stereographic: `z` must be float16, .* got torch.int64"):
        ops.stereographic(plug_in.put(z.long()))
    with pytest.raises(ValueError, match=r"slerp: `b` must be on the device of `a` .* got cpu"):
        ops.slerp(plug_in.put(z), z, 0.5)
    with pytest.raises(ValueError, match=r"affine_coupling: `params` must have"):
        ops.affine_coupling(plug_in.put(z), plug_in.put(z))


def test_without_float64_the_cpu_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on "mps"."""
    monkeypatch.setattr(_other_devices, "WITHOUT_FLOAT64", {plug_in.NAME})
    kappa = torch.tensor([0.5, 20.0, 800.0])
    with pytest.warns(UserWarning, match=r"vmf_log_normalizer: .* it runs on the CPU") as caught:
        found = ops.vmf_log_normalizer(plug_in.put(kappa), 785)
    assert len(caught) == 1
    assert found.device.type == plug_in.NAME
    assert torch.equal(plug_in.got(found), ops.vmf_log_normalizer(kappa, 785))
    points = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    given = points, points[:2], torch.ones(2), torch.zeros(2)
    with (
        pytest.warns(UserWarning, match="no kernels"),
        pytest.raises(NotImplementedError, match=r"vmf_mixture_statistics: .*x\.cpu\(\)"),
    ):
        ops.vmf_mixture_statistics(*map(plug_in.put, given))

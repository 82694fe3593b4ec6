"""Compiled and Triton kernels as torch ops."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.testing import assert_close

from flowkernels import ops

from .report import report

ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "slerp": lambda x: ops.slerp(x, x.roll(1, -1), 0.3),
    "vmf_log_prob": lambda x: ops.vmf_log_prob(x, x.roll(1, -1), 2.0),
    "stereographic": lambda x: ops.stereographic(x)[0],
    "affine_coupling": lambda x: ops.affine_coupling(x, torch.cat([x.sin(), x.cos()], 1))[0],
    "log_iv": lambda x: ops.log_iv(1.5, x.abs()),
    "iv_ratio": lambda x: ops.iv_ratio(1.5, x.abs()),
}


@report(
    "triton-lang/triton/issues/8926",
    "tensors from torch.split are read with wrong strides",
    "split, transposed, expanded and reversed-copy views give what their copies give",
)
def _() -> None:
    wide = torch.randn(12, 16)
    views = (
        wide.split(6, -1)[1],
        wide.t(),
        wide[::3, 1::2],
        wide[:1].expand(5, -1),
        wide.unfold(0, 4, 2)[:, :, 1],
    )
    for name, op in ROWS.items():
        for x in views:
            assert not x.is_contiguous()
            assert_close(op(x), op(x.contiguous()), rtol=1e-6, atol=1e-6, msg=name)


@report(
    "pytorch/pytorch/issues/130243",
    "kernels that assume one layout are silently wrong once the compiler changes strides",
    "gradients of strided inputs with gradients of other strides agree with contiguous ones",
)
def _() -> None:
    for name, op in ROWS.items():
        found = []
        for strided in (True, False):
            torch.manual_seed(1)
            x = torch.randn(8, 6).t()
            x = (x if strided else x.contiguous()).detach().requires_grad_()
            y = op(x)
            grad = torch.arange(1.0, 1 + y.numel()).view(y.shape).sin()
            grad = grad.t().contiguous().t() if strided and y.ndim == 2 else grad
            y.backward(grad)
            found.append(x.grad)
        assert_close(*found, rtol=1e-5, atol=1e-5, msg=name)


@report(
    "pytorch/pytorch/pull/28614",
    "an empty batch is a CUDA error, reported by the next op",
    "every op on rows gives empty results and empty gradients",
)
def _() -> None:
    for op in ROWS.values():
        x = torch.empty(0, 6, requires_grad=True)
        y = op(x)
        assert y.shape[0] == 0
        y.sum().backward()
        assert x.grad.shape == (0, 6)


@report(
    "tile-ai/TileOPs/issues/648",
    "backward passes are not connected to the ops, and fake versions take other arguments",
    "torch's own opcheck passes with gradients",
)
def _() -> None:
    namespace = torch.ops.flowkernels
    a, b = (torch.randn(4, 6, requires_grad=True) for _ in range(2))
    torch.library.opcheck(namespace.slerp.default, (a, b, torch.rand(3)))


@report(
    "pytorch/pytorch/issues/172428",
    "a custom op under torch.func.vjp crashes",
    "vjp, jacrev and vmap agree with autograd",
)
def _() -> None:
    a, b = torch.randn(2, 5, 6).double().unbind()

    def one(x: Tensor, y: Tensor) -> Tensor:
        return ops.slerp(x, y, 0.3)

    batched = torch.func.vmap(torch.func.jacrev(one))(a, b)
    for i in range(5):
        want = torch.autograd.functional.jacobian(lambda x, i=i: one(x, b[i]), a[i])
        assert_close(batched[i], want)
    _, pull = torch.func.vjp(one, a, b)
    assert all(g.isfinite().all() for g in pull(torch.ones_like(a)))

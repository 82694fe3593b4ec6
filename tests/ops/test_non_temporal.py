"""Calls that move more than the cache holds store their results past it, and get the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowkernels import ops

MORE = 9 << 20  # bytes of one argument; with a result, more than csrc/bindings/non_temporal.h asks

Op = Callable[..., Tensor | tuple[Tensor, ...]]
CALLS: dict[str, tuple[Op, int]] = {  # and the number of arguments
    "stereographic": (ops.stereographic, 1),
    "stereographic_inverse": (ops.stereographic_inverse, 1),
    "slerp": (lambda a, b: ops.slerp(a, b, 0.3), 2),
    "slerp, two points": (lambda a, b: ops.slerp(a, b, torch.tensor([0.3, 0.9]).to(a.dtype)), 2),
}


def _run(call: Op, arguments: list[Tensor], cotangents: list[Tensor]) -> list[Tensor]:
    leaves = [a.detach().requires_grad_() for a in arguments]
    out = call(*leaves)
    outputs = list(out) if isinstance(out, tuple) else [out]
    return [*(o.detach() for o in outputs), *torch.autograd.grad(outputs, leaves, cotangents)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [3, 40, 63, 128, 1029])
@pytest.mark.parametrize("name", list(CALLS))
def test_large_calls_are_small_calls_repeated(name: str, width: int, dtype: torch.dtype) -> None:
    call, count = CALLS[name]
    generator = torch.Generator().manual_seed(width)
    small = [
        torch.randn(40, width, dtype=torch.float64, generator=generator).to(dtype) / width**0.5
        for _ in range(count)
    ]
    if count == 2:
        small[1][5] = small[0][5]  # a pair without an arc, which no group of rows takes along
    out = call(*small)
    cotangents = [
        torch.randn(o.shape, dtype=torch.float64, generator=generator).to(o.dtype)
        for o in (out if isinstance(out, tuple) else (out,))
    ]
    times = MORE // (small[0].nbytes) + 1

    def large(t: Tensor) -> Tensor:
        return t.repeat(times, *(1 for _ in t.shape[1:]))

    want = _run(call, small, cotangents)
    got = _run(call, [large(t) for t in small], [large(t) for t in cotangents])
    for a, b in zip(got, want, strict=True):
        # Blocks of rows begin elsewhere: what is a vector here is a tail there.
        rest = a.unflatten(0, (times, 40)) if a.dim() else a
        torch.testing.assert_close(rest, b.expand_as(rest))

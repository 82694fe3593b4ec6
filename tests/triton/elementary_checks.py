"""Elementary functions in Triton against 200-bit arithmetic; run by test_interpreted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from mpmath import mp, mpf
from torch import Tensor

from flowkernels.ops.triton import elementary

COUNT = 512
ULPS = 2.5


@triton.jit
def _sine(x):
    return elementary.sincos(x)[0]


@triton.jit
def _cosine(x):
    return elementary.sincos(x)[1]


def _log_uniform(low: float, high: float, signed: bool = False) -> Tensor:
    g = torch.Generator().manual_seed(0)
    x = 10 ** (torch.rand(COUNT, dtype=torch.float64, generator=g) * (high - low) + low)
    return x * (torch.randint(0, 2, (COUNT,), generator=g) * 2 - 1) if signed else x


# name: (kernel function, exact function, arguments)
FUNCTIONS: dict[str, tuple[Any, Callable[[mpf], mpf], Tensor]] = {
    "exp": (elementary.exp, mp.exp, _log_uniform(-8, 1.93, signed=True)),
    "log1p": (elementary.log1p, mp.log1p, _log_uniform(-12, 30)),
    "log1p next to -1": (elementary.log1p, mp.log1p, _log_uniform(-6, -0.01) - 1),
    "log1p_nonnegative": (elementary.log1p_nonnegative, mp.log1p, _log_uniform(-12, 30)),
    "tanh": (elementary.tanh, mp.tanh, _log_uniform(-10, 1.5, signed=True)),
    "atan": (elementary.atan, mp.atan, _log_uniform(-10, 10, signed=True)),
    "sin": (_sine, mp.sin, _log_uniform(-6, 1.5, signed=True)),
    "cos": (_cosine, mp.cos, _log_uniform(-6, 1.5, signed=True)),
    "sqrt": (elementary.sqrt, mp.sqrt, _log_uniform(-30, 30)),
}


@triton.jit
def _each(source, to, F: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(to + i, F(tl.load(source + i)))


@triton.jit
def _angles(first, second, to, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(to + i, elementary.atan2(tl.load(first + i), tl.load(second + i)))


def apply(function: Any, x: Tensor) -> Tensor:
    """`function` of every element, by a kernel of one tile."""
    out = torch.empty_like(x)
    _each[(1,)](x, out, F=function, N=len(x))
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary(name: str, dtype: torch.dtype) -> None:
    function, exact, arguments = FUNCTIONS[name]
    x = arguments.to(dtype)
    bits = 23 if dtype == torch.float32 else 52
    with mp.workprec(200):
        for argument, got in zip(x.tolist(), apply(function, x).tolist(), strict=True):
            want = exact(mpf(argument))
            ulp = mp.ldexp(1, int(mp.floor(mp.log(abs(want), 2))) - bits)
            assert abs(got - want) <= ULPS * ulp, f"{name}({argument!r}) = {got!r}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_limits(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([0.0, -0.0, inf, -inf, nan, 1e-30, -1.0, 1.0], dtype=dtype)
    for function, plain in (
        (elementary.exp, torch.exp),
        (elementary.log1p, torch.log1p),
        (elementary.tanh, torch.tanh),
        (elementary.atan, torch.atan),
    ):
        torch.testing.assert_close(apply(function, x), plain(x), equal_nan=True)


def test_atan2_in_every_quadrant() -> None:
    angles = torch.linspace(-3.14159, 3.14159, 64, dtype=torch.float64)
    y, x = angles.sin(), angles.cos()
    out = torch.empty_like(x)
    _angles[(1,)](y, x, out, N=64)
    torch.testing.assert_close(out, torch.atan2(y, x), rtol=1e-15, atol=0)

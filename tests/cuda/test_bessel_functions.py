"""Every function of the Bessel family by its name, with its derivative, in every precision
that it is computed in: public functions call some of them for second derivatives only."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from flowkernels import (
    _C,
    ops,  # noqa: F401 - registers the ops
)

DEVICE = os.environ.get("FLOWKERNELS_TEST_DEVICE", "cpu")
OPS = torch.ops.flowkernels
ULPS = {torch.float64: 256.0, torch.float32: 64.0}
EACH_ORDER = ("log_iv", "log_iv_slope", "iv_ratio", "iv_ratio_slope")
FUNCTIONS = _C.options()["bessel"]
each_dtype = pytest.mark.parametrize("dtype", ULPS, ids=lambda d: str(d).split(".")[1])


def _arguments(function: str, dtype: torch.dtype) -> Tensor:
    # Two packs short of a whole number, from the first region of each function to the last.
    u = torch.rand(1022, dtype=torch.float64).sort().values
    # In the middle of (0, 1), for the condition of the inverse is unbounded at its ends.
    return (0.2 + 0.4 * u if "concentration" in function else 0.2 * 500**u).to(DEVICE, dtype)


def _near(got: Tensor, want: Tensor, what: str) -> None:
    allowed = ULPS[got.dtype] * torch.finfo(got.dtype).eps
    # Region by region, each on a scale of its own: some of the functions go through 0.
    for part, (a, b) in enumerate(zip(got.double().chunk(16), want.chunk(16), strict=True)):
        error = ((a - b).abs().max() / b.abs().max()).item()
        assert error <= allowed, f"{what}, part {part}: relative error {error:.3g}, {allowed:.3g}"


@each_dtype
@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_order(function: str, dtype: torch.dtype) -> None:
    for order in (0.5, 11.0, 57.5):
        x = _arguments(function, dtype)
        _compare("bessel", function, x, order)


@each_dtype
@pytest.mark.parametrize("function", EACH_ORDER)
def test_an_order_each(function: str, dtype: torch.dtype) -> None:
    x = _arguments(function, dtype)
    _compare("bessel_order", function, x, (60 * torch.rand(x.shape) + 0.5).to(DEVICE, dtype))


@each_dtype
@pytest.mark.parametrize("odd", ["x", "order", "grad"])
def test_odd_addresses(odd: str, dtype: torch.dtype) -> None:
    """Where one of the tensors begins between two packs."""
    x = _arguments("log_iv", dtype)
    _compare("bessel_order", "log_iv", x, torch.linspace(0.5, 9, len(x)).to(x), odd)
    if odd != "order":
        _compare("bessel", "log_iv", x, 11.0, odd)


def _odd(t: Tensor) -> Tensor:
    buffer = t.new_zeros(len(t) + 1)
    buffer[1:] = t
    return buffer[1:]


def _compare(op: str, function: str, x: Tensor, order: Any, odd: str = "") -> None:
    what = f"{function}, order {order if isinstance(order, float) else 'each'}"
    exact = order if isinstance(order, float) else order.double()
    grad = torch.linspace(0.5, 1.5, len(x)).to(x)
    if odd:
        given = {"x": x, "order": order, "grad": grad}
        given[odd] = _odd(given[odd])
        x, order, grad = given.values()
    want = getattr(OPS, f"{op}_composite")(x.double(), exact, function)
    _near(getattr(OPS, op)(x, order, function), want, what)
    got = getattr(OPS, f"{op}_backward")(grad, x, order, function)
    want = getattr(OPS, f"{op}_backward_composite")(grad.double(), x.double(), exact, function)
    if op == "bessel_order":
        assert not got[1].any(), f"{what}: the order has no gradient"
        got, want = got[0], want[0]
    _near(got, want, f"{what}, derivative")

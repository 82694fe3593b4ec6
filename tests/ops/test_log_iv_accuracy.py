"""log_iv and iv_ratio against the stored table, at one order and at an order per element."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowkernels import ops, special
from tests.reference.table import Column, load

from .accuracy import gate, usable

TABLE = load("log_iv.csv")
Array = NDArray[np.float64]

each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
each_way = pytest.mark.parametrize("per_element", [False, True], ids=["one order", "each order"])


def _rows(dtype: torch.dtype) -> tuple[NDArray[np.bool_], Column, Column]:
    rows = usable(dtype, TABLE["v"], TABLE["x"])
    return rows, TABLE["v"][rows], TABLE["x"][rows]


def _evaluate(
    function: Callable[[Tensor | float, Tensor], Tensor],
    v: Array,
    x: Array,
    dtype: torch.dtype,
    per_element: bool,
) -> tuple[Array, Array, Array]:
    """Values and first and second derivatives in x."""
    outs = [np.full_like(x, np.nan) for _ in range(3)]
    groups = [np.full(len(v), True)] if per_element else [v == order for order in np.unique(v)]
    for rows in groups:
        order = torch.from_numpy(v[rows]).to(dtype) if per_element else float(v[rows][0])
        points = torch.from_numpy(x[rows]).to(dtype).requires_grad_()
        value = function(order, points)
        (first,) = torch.autograd.grad(value.sum(), points, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), points)
        for out, got in zip(outs, (value, first, second), strict=True):
            out[rows] = got.detach().double().numpy()
    return outs[0], outs[1], outs[2]


def _scale(v: Array, x: Array, log_iv: Array) -> Array:
    """h + v asinh(v / x) + |log I_v(x)|, the size of the terms."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # asinh(v / x) where v / x overflows is log(2 v / x)
        slope = np.where(v / x < 1e150, np.arcsinh(v / x), np.log(2 * v) - np.log(x))
        return np.hypot(v, x) + np.where(v > 0, v * slope, 0) + np.abs(log_iv)


@each_way
@each_dtype
def test_log_iv_error_of_the_scale(dtype: torch.dtype, per_element: bool) -> None:
    rows, v, x = _rows(dtype)
    exact = TABLE["log_iv"][rows]
    got, _, _ = _evaluate(ops.log_iv, v.value, x.value, dtype, per_element)
    error, scale = exact.error(got), _scale(v.value, x.value, exact.value)
    error = np.where(error == 0, 0.0, error / np.where(error == 0, 1.0, scale))
    gate("log_iv", error, 2e-15 if dtype == torch.float64 else 1e-6, v, x)
    assert (got[(x.value == 0) & (v.value > 0)] == -np.inf).all()
    assert (got[(x.value == 0) & (v.value == 0)] == 0).all()


@each_way
@each_dtype
def test_iv_ratio_relative_error(dtype: torch.dtype, per_element: bool) -> None:
    rows, v, x = _rows(dtype)
    got, _, _ = _evaluate(ops.iv_ratio, v.value + 1, x.value, dtype, per_element)
    # an order v + 1 that float32 rounds is another order
    kept = np.full(len(got), True) if dtype == torch.float64 or not per_element else (
        (v.value + 1).astype(np.float32) == v.value + 1
    )  # fmt: skip
    errors = TABLE["ratio"][rows].relative_error(got, smallest=torch.finfo(dtype).tiny)
    gate("iv_ratio", errors[kept], 2e-15 if dtype == torch.float64 else 1e-6, v[kept], x[kept])


@each_way
@each_dtype
def test_derivatives_relative_error(dtype: torch.dtype, per_element: bool) -> None:
    """(log I_v)' = A + v / x; and by the recurrences (log I)'' = 1 + v^2/x^2 - l'/x - l'^2."""
    rows, v, x = _rows(dtype)
    # beyond, v / x or its square leaves the range
    limit = 1e15 if dtype == torch.float32 else 1e140
    kept = (x.value > np.maximum(v.value, 1) / limit) & (x.value < limit)
    ratio, v, x = TABLE["ratio"][rows][kept], v[kept], x[kept]
    _, first, second = _evaluate(ops.log_iv, v.value, x.value, dtype, per_element)
    unit = torch.finfo(dtype).eps
    want = ratio.value + v.value / x.value
    gate("first", np.abs(first / want - 1), 12 * unit, v, x)
    _, slope, _ = _evaluate(ops.iv_ratio, v.value + 1, x.value, dtype, per_element)
    # A' = (log I)'' + v / x^2, two ways to the same number
    want = slope - v.value / x.value / x.value
    size = np.abs(slope) + v.value / x.value / x.value
    gate("second", np.abs(second - want) / size, 12 * unit, v, x)


LARGE = [2.0**51, 1e20, 1e37, 1e60, 1e100, 1e153, 1e300]


def _large(v: float, x: float) -> tuple[float, float]:
    """log I_v(x) and the ratio for orders far above their argument (DLMF 10.25.2)."""
    with mpmath.workdps(60):
        order, point = mpmath.mpf(v), mpmath.mpf(x)
        y = point**2 / 4
        log_value = order * mpmath.log(point / 2) - mpmath.loggamma(order + 1) + y / (order + 1)
        return float(log_value), float(point / (2 * order))


@pytest.mark.parametrize("v", LARGE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_large_orders(v: float, dtype: torch.dtype) -> None:
    x = torch.tensor([0.25, 1.0, 64.0], dtype=dtype)
    wide = torch.promote_types(dtype, torch.float32)
    expected = torch.tensor([_large(v, float(p)) for p in x], dtype=torch.float64).to(wide)
    for order in (v, torch.tensor(v, dtype=torch.float64)):
        leaf = x.clone().requires_grad_()
        value = ops.log_iv(order, leaf)
        torch.testing.assert_close(value, expected[:, 0], rtol=1e-6, atol=0)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        assert (slope.isinf() | ((slope.double() * x.double() / v - 1).abs() < 0.01)).all()
        ratio = ops.iv_ratio(order, x)
        torch.testing.assert_close(ratio, expected[:, 1], rtol=1e-6, atol=1e-44)
    points = np.array([0.25, 1.0, 64.0], np.float32 if wide == torch.float32 else np.float64)
    np.testing.assert_allclose(special.log_iv(v, points), expected[:, 0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(special.iv_ratio(v, points), expected[:, 1].numpy(), rtol=1e-6,
                               atol=1e-44)  # fmt: skip


def test_a_0_d_order_keeps_its_digits() -> None:
    x = torch.tensor([300.0, 700.0], dtype=torch.bfloat16)
    for dtype in (torch.float64, torch.float32):
        for function in (ops.log_iv, ops.iv_ratio):
            by_tensor = function(torch.tensor(391.3, dtype=dtype), x)
            assert by_tensor.dtype == torch.float32
            torch.testing.assert_close(by_tensor, function(391.3, x), rtol=2e-6, atol=0)


@each_way
@each_dtype
def test_derivatives_of_the_hyperbolic_tangent(dtype: torch.dtype, per_element: bool) -> None:
    """I_{1/2} / I_{-1/2} = tanh: the slope sech^2 is positive and decreases as exp(-2 x)."""
    x = torch.linspace(0, 40, 81, dtype=dtype, requires_grad=True)
    order = torch.full_like(x, 0.5).detach() if per_element else 0.5
    value = ops.iv_ratio(order, x)
    torch.testing.assert_close(value, x.double().tanh().to(dtype), rtol=1e-6, atol=0)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    sech = 1 / x.detach().double().cosh()
    torch.testing.assert_close(slope.double(), sech**2, rtol=1e-5, atol=0)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    expected = -2 * x.detach().double().tanh() * sech**2
    torch.testing.assert_close(bend.double(), expected, rtol=2e-5, atol=1e-12)
    with pytest.raises(ValueError, match="iv_ratio: `x`"):
        ops.iv_ratio(order, -x.detach() - 1)

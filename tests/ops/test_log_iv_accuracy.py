"""log_iv and iv_ratio against the stored table, at one order and at an order per element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowkernels import ops
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

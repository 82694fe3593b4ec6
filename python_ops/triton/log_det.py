"""log_det_diagonal in Triton: sum log|d| of strided rows, and its gradient grad / d."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import divide
from .launch import launch
from .refuse import FLOATING, check_gradients, refuse, wide_of
from .tile import TILE, ceil_div, fetch, parts_of, positions, power_of_two, warps


@triton.jit
def forward_kernel(
    diag, log_det, rows, n, count, parts, row_stride, step,
    LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    unit = tl.program_id(0) // parts
    part = tl.program_id(0) % parts
    line = positions(unit, LINES)
    total = tl.zeros([LINES, ELEMENTS], log_det.dtype.element_ty)
    for i in range(count):  # tiles past the last are masked throughout
        element = positions(part * count + i, ELEMENTS)[None, :]
        mask = (line[:, None] < rows) & (element < n)
        value = fetch(diag, line[:, None] * row_stride + element * step, mask)
        total += tl.where(mask, tl.log(tl.abs(value)), 0.0)
    tl.store(log_det + (line * parts + part), tl.sum(total, axis=1), mask=line < rows)


@triton.jit
def backward_kernel(
    grad_log_det, diag, grad_diag, rows, n, tiles, grad_stride, row_stride, step,
    LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    unit = tl.program_id(0) // tiles
    k = tl.program_id(0) % tiles
    line = positions(unit, LINES)[:, None]
    element = positions(k, ELEMENTS)[None, :]
    mask = (line < rows) & (element < n)
    value = fetch(diag, line * row_stride + element * step, mask)
    grad = fetch(grad_log_det, line * grad_stride, line < rows).to(value.dtype)
    tl.store(grad_diag + (line * n + element), divide(grad, value), mask=mask)


class _Rows:
    """`diag` as (rows, n), and its tiles."""

    def __init__(self, diag: Tensor, event_ndim: int) -> None:
        if diag.dtype not in FLOATING or not 0 <= event_ndim <= diag.ndim:
            refuse("log_det_diagonal", diag, event_ndim)
        self.batch = diag.shape[: diag.ndim - event_ndim]
        self.rows = math.prod(self.batch)
        self.n = math.prod(diag.shape[diag.ndim - event_ndim :])
        self.flat = diag.reshape(self.rows, self.n)
        self.elements = power_of_two(self.n, TILE)
        self.lines = power_of_two(self.rows, TILE // self.elements)
        self.units = ceil_div(self.rows, self.lines)
        self.tiles = ceil_div(self.n, self.elements)
        self.options = {
            "LINES": self.lines,
            "ELEMENTS": self.elements,
            "num_warps": warps(self.lines * self.elements),
        }


def forward(diag: Tensor, event_ndim: int) -> Tensor:
    """The sum of log|diag| over the last `event_ndim` dimensions."""
    rows = _Rows(diag, event_ndim)
    wide = wide_of(diag.dtype)
    parts = parts_of(rows.units, rows.tiles)
    shape = rows.batch if parts == 1 else (*rows.batch, parts)
    sums = torch.empty(shape, dtype=wide, device=diag.device)
    launch(
        forward_kernel, rows.units * parts, diag,
        rows.flat, sums, rows.rows, rows.n, ceil_div(rows.tiles, parts), parts,
        *rows.flat.stride(), **rows.options,
    )  # fmt: skip
    return sums if parts == 1 else sums.sum(-1)


def backward(grad_log_det: Tensor, diag: Tensor, event_ndim: int) -> Tensor:
    """grad_log_det / diag."""
    rows = _Rows(diag, event_ndim)
    outputs = [(rows.batch, wide_of(diag.dtype))]
    check_gradients("log_det_diagonal", (grad_log_det,), outputs, diag, event_ndim)
    grad_diag = torch.empty(diag.shape, dtype=diag.dtype, device=diag.device)
    grad = grad_log_det.reshape(rows.rows)
    launch(
        backward_kernel, rows.units * rows.tiles, diag,
        grad, rows.flat, grad_diag, rows.rows, rows.n, rows.tiles,
        grad.stride(0), *rows.flat.stride(), **rows.options,
    )  # fmt: skip
    return grad_diag

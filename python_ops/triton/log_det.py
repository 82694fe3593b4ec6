"""log_det_diagonal in Triton: sum log|d| of strided rows, and its gradient grad / d."""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .elementary import divide, log
from .engine.calls import Call, planned
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import TILE, ceil_div, parts_of, power_of_two, rows_of, warps
from .engine.tiles import fetch, positions


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
        total += tl.where(mask, log(tl.abs(value)), 0.0)
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


def _tiles(diag: Tensor, event_ndim: int) -> tuple[torch.Size, Any, Any, Any, Any, dict[str, int]]:
    """(batch, rows, elements of a row, blocks of rows, tiles of a row, constants)."""
    if diag.dtype not in FLOATING or not 0 <= event_ndim <= diag.ndim:
        refuse("log_det_diagonal", diag, event_ndim)
    batch = diag.shape[: diag.ndim - event_ndim]
    rows, n = math.prod(batch), math.prod(diag.shape[diag.ndim - event_ndim :])
    elements = power_of_two(n, TILE)
    lines = power_of_two(rows, TILE // elements)
    constants = {"LINES": lines, "ELEMENTS": elements, "num_warps": warps(lines * elements)}
    return batch, rows, n, ceil_div(rows, lines), ceil_div(n, elements), constants


@planned(tensors=1)
def log_det_diagonal(diag: Tensor, event_ndim: int) -> Call:
    """The sum of log|diag| over the last `event_ndim` dimensions."""
    batch, rows, n, units, tiles, constants = _tiles(diag, event_ndim)
    source = rows_of(diag, batch, event_ndim)
    parts = parts_of(units, tiles)
    shape = batch if parts == 1 else (*batch, parts)
    return Call(
        forward_kernel, units * parts, diag,
        inputs=[source], outputs=[(shape, wide_of(diag.dtype))],
        numbers=(rows, n, ceil_div(tiles, parts), parts, *source.strides), constants=constants,
        finish=None if parts == 1 else lambda _, outputs: outputs[0].sum(-1),
    )  # fmt: skip


@planned(tensors=2)
def log_det_diagonal_backward(grad_log_det: Tensor, diag: Tensor, event_ndim: int) -> Call:
    """grad_log_det / diag."""
    batch, rows, n, units, tiles, constants = _tiles(diag, event_ndim)
    outputs = [(batch, wide_of(diag.dtype))]
    check_gradients("log_det_diagonal", (grad_log_det,), outputs, diag, event_ndim)
    grad, source = rows_of(grad_log_det, batch, 0), rows_of(diag, batch, event_ndim)
    return Call(
        backward_kernel, units * tiles, diag,
        inputs=[grad, source], outputs=[(diag.shape, diag.dtype)],
        numbers=(rows, n, tiles, grad.line, *source.strides), constants=constants,
    )  # fmt: skip

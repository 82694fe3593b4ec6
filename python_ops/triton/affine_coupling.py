"""affine_coupling in Triton: one pass over memory in each direction.

The formulas are those of csrc/math/affine_coupling.h.  A tile is lines x elements:

rows    where every operand's (channels, *space) merge into one stride: lines are rows
planes  elsewhere (interleaved parameters, channels_last): lines are channels of one row,
        elements positions in space, so that reads along either axis stay coalesced

The programs of a unit (a block of rows, or one row of planes) couple its `parts` and
then copy its kept channels.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .coupling_scale import scale
from .engine.calls import Call, planned
from .engine.channels import (
    OPTIONS,
    Channels,
    are_operands,
    channels_of,
    log_det_shape,
    starts_of,
    step_of,
)
from .engine.refuse import check_gradients, refuse, wide_of
from .engine.rows import TILE, Rows, ceil_div, parts_of, power_of_two, warps
from .engine.tiles import fetch, positions

# ---- kernels ---------------------------------------------------------------------


@triton.jit
def tile_of(unit, k, n_elements, PLANES: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr):
    """(base row, lines (LINES, 1), elements (1, ELEMENTS)) of a unit's tile k."""
    if PLANES:
        across = tl.cdiv(n_elements, ELEMENTS)
        lines = positions(k // across, LINES)
        elements = positions(k % across, ELEMENTS)
        return unit.to(tl.int64), lines[:, None], elements[None, :]
    else:
        lines = positions(unit, LINES)
        elements = positions(k, ELEMENTS)
        return (unit * 0).to(tl.int64), lines[:, None], elements[None, :]


@triton.jit
def copy_tile(
    source, to, unit, k, n_lines, n_elements,
    source_row, source_line, source_step, to_row, to_line, to_step,
    PLANES: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    row, line, element = tile_of(unit, k, n_elements, PLANES, LINES, ELEMENTS)
    mask = (line < n_lines) & (element < n_elements)
    at = row * source_row + line * source_line + element * source_step
    value = tl.load(source + at, mask=mask)
    tl.store(to + (row * to_row + line * to_line + element * to_step), value, mask=mask)


@triton.jit
def forward_kernel(
    x, halves, y, log_det,
    n_lines, n_elements, kept_lines, kept_elements, count, parts, programs,
    x_row, x_line, x_step, p_row, p_line, p_step, y_row, y_line, y_step, l_row, l_line,
    x_at, x_kept_at, y_at, y_kept_at, shift_at, raw_at,
    SCALE_FN: tl.constexpr, BOUND: tl.constexpr, GAIN: tl.constexpr,
    SHIFT_FIRST: tl.constexpr, INVERSE: tl.constexpr, EACH: tl.constexpr,
    PLANES: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    unit = tl.program_id(0) // programs
    part = tl.program_id(0) % programs
    if part >= parts:
        copy_tile(x + x_kept_at, y + y_kept_at, unit, part - parts, kept_lines, kept_elements,
                  x_row, x_line, x_step, y_row, y_line, y_step,
                  PLANES, LINES, ELEMENTS)  # fmt: skip
    else:
        total = tl.zeros([LINES, ELEMENTS], log_det.dtype.element_ty)
        for i in range(count):  # tiles past the last are masked throughout
            row, line, element = tile_of(
                unit, part * count + i, n_elements, PLANES, LINES, ELEMENTS
            )
            mask = (line < n_lines) & (element < n_elements)
            value = fetch(x, x_at + (row * x_row + line * x_line + element * x_step), mask)
            at = row * p_row + line * p_line + element * p_step
            shift = fetch(halves, shift_at + at, mask).to(value.dtype)
            raw = fetch(halves, raw_at + at, mask).to(value.dtype)
            log_s, s, _ = scale(raw, SCALE_FN, BOUND, GAIN)
            if INVERSE:
                log_s = -log_s
                out = value / s - shift if SHIFT_FIRST else (value - shift) / s
            else:
                out = (value + shift) * s if SHIFT_FIRST else value * s + shift
            to = row * y_row + line * y_line + element * y_step
            tl.store(y + (y_at + to), out, mask=mask)
            if EACH:
                tl.store(log_det + (row * l_row + line * l_line + element), log_s, mask=mask)
            else:
                total += tl.where(mask, log_s, 0.0)
        if not EACH:
            sums = tl.sum(total, axis=1)
            if PLANES:
                tl.store(log_det + (unit.to(tl.int64) * parts + part), tl.sum(sums, axis=0))
            else:
                row = positions(unit, LINES)
                tl.store(log_det + (row * parts + part), sums, mask=row < n_lines)


@triton.jit
def backward_kernel(
    grad_y, grad_log_det, x, halves, grad_x, grad_params,
    n_lines, n_elements, kept_lines, kept_elements, tiles, programs,
    g_row, g_line, g_step, x_row, x_line, x_step, p_row, p_line, p_step,
    gx_row, gx_line, gx_step, gp_row, gp_line, gp_step, l_row, l_line, l_step,
    g_at, g_kept_at, x_at, gx_at, gx_kept_at, shift_at, raw_at, grad_shift_at, grad_raw_at,
    SCALE_FN: tl.constexpr, BOUND: tl.constexpr, GAIN: tl.constexpr,
    SHIFT_FIRST: tl.constexpr, INVERSE: tl.constexpr, EACH: tl.constexpr,
    PLANES: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    unit = tl.program_id(0) // programs
    k = tl.program_id(0) % programs
    if k >= tiles:
        copy_tile(grad_y + g_kept_at, grad_x + gx_kept_at, unit, k - tiles, kept_lines,
                  kept_elements, g_row, g_line, g_step, gx_row, gx_line, gx_step,
                  PLANES, LINES, ELEMENTS)  # fmt: skip
    else:
        row, line, element = tile_of(unit, k, n_elements, PLANES, LINES, ELEMENTS)
        mask = (line < n_lines) & (element < n_elements)
        value = fetch(x, x_at + (row * x_row + line * x_line + element * x_step), mask)
        grad = fetch(grad_y, g_at + (row * g_row + line * g_line + element * g_step), mask)
        at = row * p_row + line * p_line + element * p_step
        raw = fetch(halves, raw_at + at, mask).to(value.dtype)
        # Read only where the gradient of log s takes it.
        if SHIFT_FIRST != INVERSE:
            shift = fetch(halves, shift_at + at, mask).to(value.dtype)
        if EACH:
            grad_log = fetch(grad_log_det, row * l_row + line * l_line + element * l_step, mask)
        elif PLANES:
            grad_log = tl.load(grad_log_det + row * l_row)
        else:
            grad_log = fetch(grad_log_det, line * l_line, line < n_lines)
        grad_log = grad_log.to(value.dtype)
        _, s, slope = scale(raw, SCALE_FN, BOUND, GAIN)
        if INVERSE:
            grad_value = grad / s
            if SHIFT_FIRST:
                grad_shift = -grad
                grad_log_s = -(grad_value * value) - grad_log
            else:
                grad_shift = -grad_value
                grad_log_s = -(grad_value * (value - shift)) - grad_log
        else:
            grad_value = grad * s
            if SHIFT_FIRST:
                grad_shift = grad_value
                grad_log_s = grad_value * (value + shift) + grad_log
            else:
                grad_shift = grad
                grad_log_s = grad_value * value + grad_log
        to = row * gp_row + line * gp_line + element * gp_step
        to_x = row * gx_row + line * gx_line + element * gx_step
        tl.store(grad_x + (gx_at + to_x), grad_value, mask=mask)
        tl.store(grad_params + (grad_shift_at + to), grad_shift, mask=mask)
        tl.store(grad_params + (grad_raw_at + to), grad_log_s * slope, mask=mask)


# ---- options and checks ------------------------------------------------------------


def _check(x: Tensor, params: Tensor, *options: Any) -> None:
    scale_fn, bound, gain, layout, order, _, transform, reduction = options
    if not (
        are_operands(x, params, 2, transform, reduction)
        and scale_fn in OPTIONS["scale_fn"]
        and 0 < bound < math.inf
        and 0 < gain < math.inf
        and layout in OPTIONS["layout"]
        and order in OPTIONS["order"]
    ):
        refuse("affine_coupling", x, params, *options)


# ---- tiles -----------------------------------------------------------------------


class _Tiles:
    """How a call is divided into tiles."""

    def __init__(self, x: Tensor, params: Tensor, options: tuple[Any, ...], *operands: Channels):
        scale_fn, bound, gain, _, order, inverse, transform, reduction = options
        rows, self.space = x.shape[0], math.prod(x.shape[2:])
        coupled = params.shape[1] // 2
        kept = x.shape[1] - coupled
        self.coupled_channel, self.kept_channel = starts_of(transform, coupled, kept)
        self.planes = self.space != 1 and any(o.channel != self.space * o.step for o in operands)
        if self.planes:
            self.sizes = (coupled, self.space, kept, self.space)
            channels_last = any(o.channel < o.step for o in operands)
            # 32 x 32 reads whole sectors along both axes: the output is channels first.
            narrow = power_of_two(coupled, 32) if channels_last else 1
            elements = power_of_two(self.space, TILE // narrow)
            lines = power_of_two(coupled, TILE // elements)
            self.units, blocks = rows, ceil_div(coupled, lines)
            kept_blocks = ceil_div(kept, lines)
        else:
            self.sizes = (rows, coupled * self.space, rows, kept * self.space)
            elements = power_of_two(max(self.sizes[1], 1), TILE)
            lines = power_of_two(rows, TILE // elements)
            self.units, blocks, kept_blocks = ceil_div(rows, lines), 1, 1
        self.tiles = blocks * ceil_div(self.sizes[1], elements)
        self.kept_tiles = kept_blocks * ceil_div(self.sizes[3], elements)
        self.constants = {
            "SCALE_FN": scale_fn,
            "BOUND": float(bound),
            "GAIN": float(gain),
            "SHIFT_FIRST": order == "shift_then_scale",
            "INVERSE": bool(inverse),
            "EACH": reduction == "none",
            "PLANES": self.planes,
            "LINES": lines,
            "ELEMENTS": elements,
            "num_warps": warps(lines * elements),
        }

    def strides(self, o: Channels, *, step: bool = True) -> tuple[Any, ...]:
        """Of an operand: a tile's base row, lines and elements; contiguous ones have no step."""
        if self.planes:
            three = (o.row, o.channel, o.step)
        else:
            three = (0, o.row, o.channel if self.space == 1 else o.step)
        return three if step else three[:2]

    def starts(self, o: Channels) -> tuple[Any, Any]:
        """Where an operand's coupled and kept channels begin."""
        return self.coupled_channel * o.one, self.kept_channel * o.one


def _halves(o: Channels, channels: Any, layout: str) -> tuple[Any, Any]:
    """Where shift and raw scale begin."""
    second = o.one if layout.startswith("interleaved") else channels // 2 * o.one
    return (second, 0) if layout.endswith("scale_shift") else (0, second)


def _steps(options: tuple[Any, ...]) -> tuple[int, int]:
    """How far apart the coupled channels lie, of x and of the parameters."""
    layout, transform = options[3], options[6]
    return step_of(transform), 2 if layout.startswith("interleaved") else 1


# ---- the op ----------------------------------------------------------------------


@planned(tensors=2)
def affine_coupling(x: Tensor, params: Tensor, *options: Any) -> Call:
    """(y, log_det); the options are those of the dispatcher's schema."""
    _check(x, params, *options)
    layout = options[3]
    apart, each = _steps(options)
    xs, ys = channels_of(x.shape, x.stride(), apart), channels_of(x.shape, None, apart)
    ps = channels_of(params.shape, params.stride(), each)
    tiles = _Tiles(x, params, options, xs, ys, ps)
    parts = parts_of(tiles.units, tiles.tiles)
    log_dets = log_det_shape(x, params.shape[1] // 2, options[7])
    summed = len(log_dets) == 1
    # Of what is summed the kernel needs no strides.
    ls = Channels(Rows(), 0, 0, 0) if summed else channels_of(log_dets, None)
    sums = (x.shape[0], parts) if summed and parts > 1 else log_dets
    programs = parts + tiles.kept_tiles
    return Call(
        forward_kernel, tiles.units * programs, x,
        inputs=[xs.rows, ps.rows], outputs=[(x.shape, x.dtype), (sums, wide_of(x.dtype))],
        numbers=(
            *tiles.sizes, ceil_div(tiles.tiles, parts), parts, programs,
            *tiles.strides(xs), *tiles.strides(ps), *tiles.strides(ys),
            *tiles.strides(ls, step=False), *tiles.starts(xs), *tiles.starts(ys),
            *_halves(ps, params.shape[1], layout),
        ),
        constants=tiles.constants,
        finish=(
            (lambda _, outputs: (outputs[0], outputs[1].sum(1))) if summed and parts > 1 else None
        ),
    )  # fmt: skip


@planned(tensors=4)
def affine_coupling_backward(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, *options: Any
) -> Call:
    """(grad_x, grad_params)."""
    _check(x, params, *options)
    log_dets = log_det_shape(x, params.shape[1] // 2, options[7])
    outputs = (x.shape, x.dtype), (log_dets, wide_of(x.dtype))
    check_gradients("affine_coupling", (grad_y, grad_log_det), outputs, x, params, *options)
    layout = options[3]
    apart, each = _steps(options)
    gs, xs = (channels_of(x.shape, t.stride(), apart) for t in (grad_y, x))
    gxs = channels_of(x.shape, None, apart)
    ps = channels_of(params.shape, params.stride(), each)
    gps = channels_of(params.shape, None, each)
    operands = [gs, xs, gxs, ps, gps]
    if len(log_dets) == 1:
        ls = Channels(Rows(), grad_log_det.stride(0), 0, 0)
    else:
        ls = channels_of(log_dets, grad_log_det.stride())
        operands.append(ls)
    tiles = _Tiles(x, params, options, *operands)
    programs = tiles.tiles + tiles.kept_tiles
    return Call(
        backward_kernel, tiles.units * programs, x,
        inputs=[gs.rows, ls.rows, xs.rows, ps.rows],
        outputs=[(x.shape, x.dtype), (params.shape, params.dtype)],
        numbers=(
            *tiles.sizes, tiles.tiles, programs,
            *tiles.strides(gs), *tiles.strides(xs), *tiles.strides(ps),
            *tiles.strides(gxs), *tiles.strides(gps), *tiles.strides(ls),
            *tiles.starts(gs), tiles.starts(xs)[0], *tiles.starts(gxs),
            *_halves(ps, params.shape[1], layout), *_halves(gps, params.shape[1], layout),
        ),
        constants=tiles.constants,
    )  # fmt: skip

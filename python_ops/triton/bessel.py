"""bessel in Triton: the radial functions of the vMF, log I_v and ratios, element by element.

Arguments outside a function's domain give NaN: to raise, the host would have to wait for
the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bessel_plan import LOG_UNIFORM, plan_at
from .bessel_ratio import (
    bessel_ratio,
    bessel_ratio_complement,
    bessel_ratio_curvature,
    bessel_ratio_slope,
)
from .elementary import divide
from .engine.calls import Call, planned
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import TILE, ceil_div, contiguous, power_of_two, warps
from .engine.tiles import fetch, positions
from .log_0f1 import bessel_divergence, bessel_divergence_slope, bessel_peak, log_0f1
from .log_iv import log_iv, log_iv_curvature, log_iv_slope
from .vmf_concentration import vmf_concentration

# ---- kernels ---------------------------------------------------------------------


@triton.jit
def value_of(
    plan, x, FUNCTION: tl.constexpr, DENSITY: tl.constexpr,
    TERMS: tl.constexpr,
):  # fmt: skip
    offset = tl.load(plan + LOG_UNIFORM) if DENSITY else 0.0
    if FUNCTION == "log_normalizer":
        return offset - log_0f1(plan, x, TERMS)
    elif FUNCTION == "peak":
        return offset + bessel_peak(plan, x, TERMS)
    elif FUNCTION == "divergence":
        return bessel_divergence(plan, x, TERMS)
    elif FUNCTION == "ratio":
        return bessel_ratio(plan, x, TERMS)
    elif FUNCTION == "ratio_complement":
        return bessel_ratio_complement(plan, x, TERMS)
    elif FUNCTION == "ratio_slope":
        return bessel_ratio_slope(plan, x, TERMS)
    elif FUNCTION == "concentration":
        return vmf_concentration(plan, x, 1.0 - x, TERMS)
    elif FUNCTION == "concentration_complement":
        return vmf_concentration(plan, 1.0 - x, x, TERMS)
    elif FUNCTION == "log_iv":
        return log_iv(plan, x, TERMS)
    else:
        return log_iv_slope(plan, x, TERMS)


@triton.jit
def slope_of(
    plan, x, FUNCTION: tl.constexpr,
    TERMS: tl.constexpr,
):  # fmt: skip
    if FUNCTION == "log_normalizer":
        return -bessel_ratio(plan, x, TERMS)
    elif FUNCTION == "peak":
        return bessel_ratio_complement(plan, x, TERMS)
    elif FUNCTION == "divergence":
        return bessel_divergence_slope(plan, x, TERMS)
    elif FUNCTION == "ratio":
        return bessel_ratio_slope(plan, x, TERMS)
    elif FUNCTION == "ratio_complement":
        return -bessel_ratio_slope(plan, x, TERMS)
    elif FUNCTION == "ratio_slope":
        return bessel_ratio_curvature(plan, x, TERMS)
    elif FUNCTION == "concentration":
        kappa = vmf_concentration(plan, x, 1.0 - x, TERMS)
        slope = bessel_ratio_slope(plan, kappa, TERMS)
        return divide(tl.zeros_like(x) + 1.0, slope)
    elif FUNCTION == "concentration_complement":
        kappa = vmf_concentration(plan, 1.0 - x, x, TERMS)
        slope = bessel_ratio_slope(plan, kappa, TERMS)
        return divide(tl.zeros_like(x) - 1.0, slope)
    elif FUNCTION == "log_iv":
        return log_iv_slope(plan, x, TERMS)
    else:
        return log_iv_curvature(plan, x, TERMS)


@triton.jit
def outside(x, FUNCTION: tl.constexpr):
    """Where x is outside the function's domain."""
    if (FUNCTION == "concentration") | (FUNCTION == "concentration_complement"):
        return (x < 0.0) | (x > 1.0)
    else:
        return x < 0.0


@triton.jit
def forward_kernel(
    x, plan, out, n, FUNCTION: tl.constexpr, DENSITY: tl.constexpr,
    TERMS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    at = positions(tl.program_id(0), ELEMENTS)
    value = fetch(x, at, at < n)
    result = value_of(plan, value, FUNCTION, DENSITY, TERMS)
    tl.store(out + at, tl.where(outside(value, FUNCTION), float("nan"), result), mask=at < n)


@triton.jit
def backward_kernel(
    grad, x, plan, out, n, FUNCTION: tl.constexpr,
    TERMS: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    at = positions(tl.program_id(0), ELEMENTS)
    value = fetch(x, at, at < n)
    slope = slope_of(plan, value, FUNCTION, TERMS)
    slope = tl.where(outside(value, FUNCTION), float("nan"), slope)
    tl.store(out + at, fetch(grad, at, at < n).to(value.dtype) * slope, mask=at < n)


# ---- the op ----------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What a function's name stands for; see csrc/bindings/bessel_function.cpp."""

    function: str
    lowest_order: float = 0.0
    density: bool = False  # add log C_p(0)


ENTRIES = {
    "log_iv": Entry("log_iv"),
    "log_iv_slope": Entry("log_iv_slope"),
    "iv_ratio": Entry("ratio", -0.5),
    "iv_ratio_slope": Entry("ratio_slope", -0.5),
    "vmf_log_normalizer": Entry("log_normalizer", density=True),
    "vmf_log_normalizer_relative": Entry("log_normalizer"),
    "vmf_log_peak": Entry("peak", density=True),
    "vmf_divergence": Entry("divergence"),
    "vmf_mean_resultant": Entry("ratio"),
    "vmf_mean_resultant_complement": Entry("ratio_complement"),
    "vmf_mean_resultant_slope": Entry("ratio_slope"),
    "vmf_concentration": Entry("concentration"),
    "vmf_concentration_complement": Entry("concentration_complement"),
}


def _entry(x: Tensor, order: float, function: str) -> Entry:
    entry = ENTRIES.get(function)
    if entry is None or x.dtype not in FLOATING or not entry.lowest_order <= order < math.inf:
        refuse("bessel", x, order, function)
    return entry


def _blocks(x: Tensor) -> dict[str, Any]:
    if x.dtype == torch.float64:
        # Two elements a thread: of eight the polynomials' values no longer fit into registers.
        elements = power_of_two(x.numel(), TILE // 4)
        return {"ELEMENTS": elements, "num_warps": warps(4 * elements)}
    elements = power_of_two(x.numel(), TILE)
    return {"ELEMENTS": elements, "num_warps": warps(elements)}


def _call(
    kernel: Any, tensors: list[Tensor], dtype: torch.dtype, order: float, **options: Any
) -> Call:
    x = tensors[-1]
    plan = plan_at(order, x.dtype == torch.float64, x.device)
    blocks = _blocks(x)
    return Call(
        kernel, ceil_div(x.numel(), blocks["ELEMENTS"]), x,
        inputs=[contiguous(t) for t in tensors], tables=(plan.memory,),
        outputs=[(x.shape, dtype)], numbers=(x.numel(),),
        constants={**options, **plan.constants, **blocks},
    )  # fmt: skip


@planned(tensors=1)
def bessel(x: Tensor, order: float, function: str) -> Call:
    """The function of every element."""
    entry = _entry(x, order, function)
    return _call(
        forward_kernel, [x], wide_of(x.dtype), order,
        FUNCTION=entry.function, DENSITY=entry.density,
    )  # fmt: skip


@planned(tensors=2)
def bessel_backward(grad: Tensor, x: Tensor, order: float, function: str) -> Call:
    """`grad` times the function's derivative."""
    entry = _entry(x, order, function)
    check_gradients("bessel", (grad,), [(x.shape, wide_of(x.dtype))], x, order, function)
    return _call(backward_kernel, [grad, x], x.dtype, order, FUNCTION=entry.function)

"""Mixtures of von Mises-Fisher distributions in Triton: products by torch, the rest in a kernel.

csrc/ops/vmf_mixture.h has the formulas and their source.  Points are taken block by block, so that
the matrix of the responsibilities is in memory only where it is asked for.

A negative concentration gives NaN: to raise, the host would have to wait for the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bessel import bessel
from .elementary import divide, exp, log
from .engine.calls import Call, planned
from .engine.refuse import FLOATING, check_gradients, refuse, wide_of
from .engine.rows import ceil_div
from .engine.tiles import positions
from .ranges import SMALLEST_NORMAL

POINTS = 128  # of a program, one each thread
BLOCK_BYTES = 1 << 26  # of a block's products

# ---- kernel ----------------------------------------------------------------------


@triton.jit
def above_mode(products, k, stride, at, there):
    """x.loc_k - 1."""
    return tl.load(products + k * stride + at, mask=there, other=0.0) - 1.0


@triton.jit
def logit(products, kappa, offset, k, stride, at, there):
    """offset_k + kappa_k (x.loc_k - 1)."""
    above = above_mode(products, k, stride, at, there)
    return tl.load(kappa + k) * above + tl.load(offset + k)


@triton.jit
def normal(v):
    """0 for subnormal numbers, as on the CPU."""
    return tl.where(tl.abs(v) < SMALLEST_NORMAL[v.dtype == tl.float64], 0.0, v)


@triton.jit
def mixture_kernel(
    products, kappa, offset, common, grad, grad_log_r, log_prob, out, along,
    components, points, stride,
    GRADIENTS: tl.constexpr, EACH: tl.constexpr, ALONG: tl.constexpr, OUT: tl.constexpr,
    LINES: tl.constexpr,
):  # fmt: skip
    at = positions(tl.program_id(0), LINES)
    there = at < points
    top = logit(products, kappa, offset, 0, stride, at, there)
    for k in range(1, components):
        z = logit(products, kappa, offset, k, stride, at, there)
        top = tl.where(top < z, z, top)
    shift = tl.where(top == float("-inf"), 0.0, top)
    total = tl.zeros_like(top)
    for k in range(components):
        e = exp(logit(products, kappa, offset, k, stride, at, there) - shift)
        total += e
        if GRADIENTS:
            tl.store(out + k * stride + at, normal(e), mask=there)
    log_sum = shift + log(total)
    if GRADIENTS:
        g = tl.load(grad + at, mask=there, other=0.0)
        if EACH:
            for k in range(components):
                g -= tl.load(grad_log_r + k * stride + at, mask=there, other=0.0)
        scale = divide(g, total)
        for k in range(components):
            dz = normal(tl.load(out + k * stride + at, mask=there, other=0.0) * scale)
            if EACH:
                dz += tl.load(grad_log_r + k * stride + at, mask=there, other=0.0)
            tl.store(out + k * stride + at, dz, mask=there)
            if ALONG:
                slope = dz * above_mode(products, k, stride, at, there)
                tl.store(along + k * stride + at, slope, mask=there)
    elif OUT:
        for k in range(components):
            z = logit(products, kappa, offset, k, stride, at, there)
            tl.store(out + k * stride + at, z - log_sum, mask=there)
    peak = tl.load(common)
    high = peak.to(top.dtype)
    low = (peak - high.to(tl.float64)).to(top.dtype)
    tl.store(log_prob + at, (log_sum + low) + high, mask=there)


@planned(tensors=6)
def points(
    products: Tensor, kappa: Tensor, offset: Tensor, common: Tensor, grad: Tensor,
    grad_log_r: Tensor, gradients: bool, each: bool, along: bool, out: bool,
) -> Call:  # fmt: skip
    """log p (points), and what is wanted of (components, points)."""
    components, count = products.shape
    dtype, shape = products.dtype, tuple(products.shape)
    return Call(
        mixture_kernel, ceil_div(count, POINTS), products,
        inputs=[None] * 6,
        outputs=[
            ((count,), dtype), (shape if gradients or out else (0,), dtype),
            (shape if along else (0,), dtype),
        ],
        numbers=(components, count, count),
        constants={"GRADIENTS": gradients, "EACH": each, "ALONG": along, "OUT": out,
                   "LINES": POINTS, "num_warps": 4},
    )  # fmt: skip


# ---- the ops ---------------------------------------------------------------------


@dataclass
class _Mixture:
    """The parameters as the kernel reads them, and the points."""

    x: Tensor  # (points, p)
    locs: Tensor
    kappa: Tensor
    kappa64: Tensor
    offset: Tensor
    common: Tensor

    @classmethod
    def of(cls, x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor) -> _Mixture:
        wide = wide_of(x.dtype)
        kappa64 = concentrations.double().contiguous()
        peak = bessel(kappa64, x.shape[-1] / 2 - 1, "vmf_log_peak") + log_weights.double()
        largest = peak.amax()
        common = torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
        return cls(
            x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), locs.to(wide).contiguous(),
            kappa64.to(wide), kappa64, (peak - common).to(wide), common,
        )  # fmt: skip

    @property
    def wide(self) -> torch.dtype:
        """The dtype of the computation."""
        return self.locs.dtype

    def blocks(self) -> Iterator[slice]:
        """Blocks of points."""
        size = self.locs.shape[0] * self.wide.itemsize
        block = max(4096, BLOCK_BYTES // size // POINTS * POINTS)
        for first in range(0, self.x.shape[0], block):
            yield slice(first, min(first + block, self.x.shape[0]))

    def empty(self, *shape: int) -> Tensor:
        """In the dtype of the computation."""
        return self.x.new_empty(shape, dtype=self.wide)

    def zeros(self, *shape: int) -> Tensor:
        """For sums, in float64."""
        return self.x.new_zeros(shape, dtype=torch.float64)

    def run(
        self, block: slice, grad: Tensor | None, grad_log_r: Tensor | None, *,
        along: bool = False, out: bool = False,
    ) -> Any:  # fmt: skip
        """The kernel's results for a block, whose points in the computation's dtype lead."""
        xs = self.x[block].to(self.wide)
        products = self.locs @ xs.mT
        given = self.kappa, self.offset, self.common
        g = self.kappa if grad is None else grad[block]
        each = self.kappa if grad_log_r is None else grad_log_r[block].mT.contiguous()
        options = grad is not None, grad_log_r is not None, along, out
        return xs, *points(products, *given, g, each, *options)


def _fits(x: Tensor, locs: Tensor, *numbers: Tensor) -> bool:
    """Whether the kernels take these arguments."""
    double = x.dtype == torch.float64
    return (
        x.ndim >= 1
        and x.shape[-1] >= 2
        and locs.ndim == 2
        and locs.shape[0] >= 1
        and locs.shape[1] == x.shape[-1]
        and all(n.shape == locs.shape[:1] for n in numbers)
        and all(
            t.dtype in FLOATING and (t.dtype == torch.float64) == double and t.device == x.device
            for t in (x, locs, *numbers)
        )
    )


def vmf_mixture_log_prob(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor, responsibilities: bool
) -> tuple[Tensor, Tensor]:
    """log p(x), and the logarithms of the responsibilities or (*batch, 0)."""
    if not _fits(x, locs, concentrations, log_weights):
        refuse("vmf_mixture_log_prob", x, locs, concentrations, log_weights, responsibilities)
    m = _Mixture.of(x, locs, concentrations, log_weights)
    components = locs.shape[0] if responsibilities else 0
    log_prob, log_r = m.empty(m.x.shape[0]), m.empty(m.x.shape[0], components)
    for block in m.blocks():
        _, log_prob[block], out, _ = m.run(block, None, None, out=responsibilities)
        if responsibilities:
            log_r[block] = out.mT
    return log_prob.reshape(x.shape[:-1]), log_r.reshape(*x.shape[:-1], components)


def vmf_mixture_log_prob_backward(
    grad_log_prob: Tensor, grad_log_responsibilities: Tensor, x: Tensor, locs: Tensor,
    concentrations: Tensor, log_weights: Tensor, responsibilities: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of the four tensors."""
    args = x, locs, concentrations, log_weights
    if not _fits(*args):
        refuse("vmf_mixture_log_prob", *args, responsibilities)
    batch, wide = x.shape[:-1], wide_of(x.dtype)
    components = locs.shape[0] if responsibilities else 0
    grads = grad_log_prob, grad_log_responsibilities
    outputs = [(batch, wide), ((*batch, components), wide)]
    check_gradients("vmf_mixture_log_prob", grads, outputs, *args, responsibilities)
    m = _Mixture.of(*args)
    points, dim = m.x.shape
    grad = grad_log_prob.reshape(points).contiguous()
    of_log_r = grad_log_responsibilities.reshape(points, -1) if components and points else None
    grad_x, scaled = x.new_empty(points, dim), m.locs * m.kappa.unsqueeze(1)
    counts, along, with_x = m.zeros(len(locs)), m.zeros(len(locs)), m.zeros(len(locs), dim)
    for block in m.blocks():
        given, _, dz, slope = m.run(block, grad, of_log_r, along=True)
        grad_x[block] = dz.mT @ scaled
        counts += dz.sum(1)
        along += slope.sum(1)
        with_x += dz @ given
    rise = bessel(m.kappa64, dim / 2 - 1, "vmf_mean_resultant_complement")
    return (
        grad_x.reshape(x.shape),
        (with_x * m.kappa64.unsqueeze(1)).to(locs.dtype),
        (along + rise * counts).to(concentrations.dtype),
        counts.to(log_weights.dtype),
    )


def vmf_mixture_statistics(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor, sample_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x), and the weighted sums of r and of r x, in float64."""
    args = x, locs, concentrations, log_weights
    if not _fits(*args) or not _weights_fit(x, sample_weights):
        refuse("vmf_mixture_statistics", *args, sample_weights)
    m = _Mixture.of(*args)
    points, dim = m.x.shape
    weights = sample_weights.to(m.wide).reshape(points).contiguous()
    log_prob, counts, with_x = m.empty(points), m.zeros(len(locs)), m.zeros(len(locs), dim)
    for block in m.blocks():
        given, log_prob[block], shares, _ = m.run(block, weights, None)
        counts += shares.sum(1)
        with_x += shares @ given
    return log_prob.reshape(x.shape[:-1]), counts, with_x


def _weights_fit(x: Tensor, weights: Tensor) -> bool:
    return (
        weights.shape == x.shape[:-1]
        and weights.dtype in FLOATING
        and (weights.dtype == torch.float64) == (x.dtype == torch.float64)
        and weights.device == x.device
    )


def vmf_mixture_statistics_backward(*args: Any) -> Any:
    """By the formulas: who differentiates an E-step can afford the responsibilities."""
    return torch.ops.flowkernels.vmf_mixture_statistics_backward_composite(*args)

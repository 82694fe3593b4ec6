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
def of_share(products, grad_counts, k, stride, at, there):
    """The gradient of s r_k: grad_counts_k + x.G_k."""
    return tl.load(products + k * stride + at, mask=there, other=0.0) + tl.load(grad_counts + k)


@triton.jit
def normal(v):
    """0 for subnormal numbers, as on the CPU."""
    return tl.where(tl.abs(v) < SMALLEST_NORMAL[v.dtype == tl.float64], 0.0, v)


@triton.jit
def mixture_kernel(
    products, kappa, offset, common, grad, grad_log_r, weights, grad_counts,
    log_prob, out, along, grad_weights,
    components, points, stride,
    GRADIENTS: tl.constexpr, EACH: tl.constexpr, ALONG: tl.constexpr, OUT: tl.constexpr,
    STATISTICS: tl.constexpr, LINES: tl.constexpr,
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
        if STATISTICS:
            further = components * stride
            inverse = divide(tl.full(total.shape, 1.0, total.dtype), total)
            mean = tl.zeros_like(total)
            for k in range(components):
                r = tl.load(out + k * stride + at, mask=there, other=0.0) * inverse
                share = of_share(products + further, grad_counts, k, stride, at, there)
                mean = tl.fma(r, share, mean)
            weight = tl.load(weights + at, mask=there, other=0.0)
            tl.store(grad_weights + at, mean, mask=there)
        for k in range(components):
            e = tl.load(out + k * stride + at, mask=there, other=0.0)
            if STATISTICS:
                r = e * inverse
                share = of_share(products + further, grad_counts, k, stride, at, there)
                dz = normal(r * tl.fma(weight, share - mean, g))
                tl.store(out + further + k * stride + at, normal(r * weight), mask=there)
            else:
                dz = normal(e * scale)
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


@planned(tensors=8)
def points(
    products: Tensor, kappa: Tensor, offset: Tensor, common: Tensor, grad: Tensor,
    grad_log_r: Tensor, weights: Tensor, grad_counts: Tensor,
    gradients: bool, each: bool, along: bool, out: bool, statistics: bool,
) -> Call:  # fmt: skip
    """log p (points), what is wanted of (components, points), and the gradients of the weights.

    Those of the statistics have two rows for each component in the products and in what is made of
    them, as csrc/ops/vmf_mixture.h says.
    """
    count, dtype, shape = products.shape[1], products.dtype, tuple(products.shape)
    components = kappa.shape[0]
    return Call(
        mixture_kernel, ceil_div(count, POINTS), products,
        inputs=[None] * 8,
        outputs=[
            ((count,), dtype), (shape if gradients or out else (0,), dtype),
            ((components, count) if along else (0,), dtype),
            ((count,) if statistics else (0,), dtype),
        ],
        numbers=(components, count, count),
        constants={"GRADIENTS": gradients, "EACH": each, "ALONG": along, "OUT": out,
                   "STATISTICS": statistics, "LINES": POINTS, "num_warps": 4},
    )  # fmt: skip


# ---- the ops ---------------------------------------------------------------------


@dataclass
class _Gradients:
    """What the gradients of a call's results are, or the weights of a sum."""

    log_prob: Tensor | None = None  # (points), or weights
    each: Tensor | None = None  # of the logarithms of the responsibilities
    weights: Tensor | None = None  # (points), and the gradients of the weighted sums
    counts: Tensor | None = None
    sums: Tensor | None = None
    along: bool = False


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
        common = peak.amax().nan_to_num(0.0, 0.0, 0.0)
        return cls(
            x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), locs.to(wide).contiguous(),
            kappa64.to(wide), kappa64, (peak - common).to(wide), common,
        )  # fmt: skip

    @property
    def wide(self) -> torch.dtype:
        """The dtype of the computation."""
        return self.locs.dtype

    def factors(self, of: _Gradients) -> Tensor:
        """What the points are multiplied by."""
        return self.locs if of.sums is None else torch.cat((self.locs, of.sums))

    def blocks(self, factors: Tensor) -> Iterator[slice]:
        """Blocks of points."""
        size = factors.shape[0] * self.wide.itemsize
        block = max(4096, BLOCK_BYTES // size // POINTS * POINTS)
        for first in range(0, self.x.shape[0], block):
            yield slice(first, min(first + block, self.x.shape[0]))

    def empty(self, *shape: int) -> Tensor:
        """In the dtype of the computation."""
        return self.x.new_empty(shape, dtype=self.wide)

    def zeros(self, *shape: int) -> Tensor:
        """For sums, in float64."""
        return self.x.new_zeros(shape, dtype=torch.float64)

    def run(self, block: slice, factors: Tensor, of: _Gradients, *, out: bool = False) -> Any:
        """The kernel's results for a block, whose points in the computation's dtype lead."""
        xs = self.x[block].to(self.wide)
        each, absent = of.each is not None, self.kappa
        given = (
            absent if of.log_prob is None else of.log_prob[block],
            absent if of.each is None else of.each[block].mT.contiguous(),
            absent if of.weights is None else of.weights[block],
            absent if of.counts is None else of.counts,
        )
        options = of.log_prob is not None, each, of.along, out, of.sums is not None
        products = factors @ xs.mT
        return xs, *points(products, self.kappa, self.offset, self.common, *given, *options)

    def pull_back(self, of: _Gradients) -> tuple[tuple[Tensor, ...], Tensor]:
        """The gradients of the four arguments, less their dtypes, and of the weights."""
        points, dim = self.x.shape
        components = self.locs.shape[0]
        scaled = self.locs * self.kappa.unsqueeze(1)
        if of.sums is not None:
            scaled = torch.cat((scaled, of.sums))
        grad_x, grad_weights = self.x.new_empty(points, dim), self.empty(points)
        counts, along = self.zeros(components), self.zeros(components)
        with_x = self.zeros(components, dim)
        factors = self.factors(of)
        for block in self.blocks(factors):
            given, _, out, slope, grad_weight = self.run(block, factors, of)
            dz = out[:components]
            grad_x[block] = out.mT @ scaled
            counts += dz.sum(1)
            along += slope.sum(1)
            with_x += dz @ given
            if of.weights is not None:
                grad_weights[block] = grad_weight
        rise = bessel(self.kappa64, dim / 2 - 1, "vmf_mean_resultant_complement")
        of_locs = with_x * self.kappa64.unsqueeze(1)
        return (grad_x, of_locs, along + rise * counts, counts), grad_weights


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
    for block in m.blocks(m.locs):
        _, log_prob[block], out, *_ = m.run(block, m.locs, _Gradients(), out=responsibilities)
        if responsibilities:
            log_r[block] = out.mT
    return log_prob.reshape(x.shape[:-1]), log_r.reshape(*x.shape[:-1], components)


def vmf_mixture_log_prob_backward(
    grad_log_prob: Tensor, grad_log_responsibilities: Tensor, x: Tensor, locs: Tensor,
    concentrations: Tensor, log_weights: Tensor, responsibilities: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
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
    points = m.x.shape[0]
    each = grad_log_responsibilities.reshape(points, -1) if components and points else None
    of = _Gradients(grad_log_prob.reshape(points).contiguous(), each, along=True)
    gradients, _ = m.pull_back(of)
    return tuple(g.reshape(a.shape).to(a.dtype) for g, a in zip(gradients, args, strict=True))


def vmf_mixture_statistics(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor, sample_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x), and the weighted sums of r and of r x, in float64."""
    args = x, locs, concentrations, log_weights
    if not _fits(*args) or not _weights_fit(x, sample_weights):
        refuse("vmf_mixture_statistics", *args, sample_weights)
    m = _Mixture.of(*args)
    points, dim = m.x.shape
    of = _Gradients(sample_weights.to(m.wide).reshape(points).contiguous())
    log_prob, counts, with_x = m.empty(points), m.zeros(len(locs)), m.zeros(len(locs), dim)
    for block in m.blocks(m.locs):
        given, log_prob[block], shares, *_ = m.run(block, m.locs, of)
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


def vmf_mixture_statistics_backward(
    grad_log_prob: Tensor, grad_counts: Tensor, grad_sums: Tensor, x: Tensor, locs: Tensor,
    concentrations: Tensor, log_weights: Tensor, sample_weights: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The gradients of the five tensors."""
    args = x, locs, concentrations, log_weights, sample_weights
    if not _fits(*args[:4]) or not _weights_fit(x, sample_weights):
        refuse("vmf_mixture_statistics", *args)
    grads = grad_log_prob, grad_counts, grad_sums
    outputs: Any = [
        (x.shape[:-1], wide_of(x.dtype)), (locs.shape[:1], torch.float64),
        (locs.shape, torch.float64),
    ]  # fmt: skip
    check_gradients("vmf_mixture_statistics", grads, outputs, *args)
    m = _Mixture.of(*args[:4])
    points = m.x.shape[0]
    of = _Gradients(
        grad_log_prob.reshape(points).contiguous(), None,
        sample_weights.to(m.wide).reshape(points).contiguous(),
        grad_counts.to(m.wide).contiguous(), grad_sums.to(m.wide), along=True,
    )  # fmt: skip
    gradients, of_weights = m.pull_back(of)
    every = (*gradients, of_weights)
    return tuple(g.reshape(a.shape).to(a.dtype) for g, a in zip(every, args, strict=True))

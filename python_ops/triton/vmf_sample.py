"""vmf_sample_cosine in Triton: cosines of von Mises-Fisher points, and their paths, in float64.

csrc/math/vmf_sample.h has the formulas and their sources.  The words behind a draw are the same
to the last bit on every device, its value to the rounding of float64: only where a proposal is
taken or refused by less than that could two devices take different ones.

A negative concentration gives NaN: to raise, the host would have to wait for the device.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bessel_plan import plan_at
from .bessel_ratio import any_of, bessel_ratio_complement, bessel_ratio_slope
from .elementary import atan2, log1p, sincos, tanh
from .engine.calls import Call, planned
from .engine.refuse import FLOATING, refuse, wide_of
from .engine.rows import ceil_div, contiguous, rows_of
from .engine.table import make_table
from .engine.tiles import positions
from .philox import COSINE, row_keys, uniform, words
from .polynomials import NODES, WEIGHTS
from .ranges import SAMPLE_ROUNDS, SAMPLE_SMALLEST

POINTS = tl.constexpr(2 * len(NODES))
# A warp: a block repeats until its last row has been served.
ELEMENTS = 64

# ---- kernels ---------------------------------------------------------------------


@triton.jit
def propose(key, row, trial, n, b, two_ab, power):
    """(1 - w, 1 + w, s, log U): a proposal, where it stands in its envelope, and its chance."""
    a0, a1, a2, a3 = words(key, trial * 2, row, COSINE)
    c0, c1, _, _ = words(key, trial * 2 + 1, row, COSINE)
    log_gap = tl.log(uniform(a0, a1)) * power
    # -expm1(g) = 2 t / (1 + t), t = tanh(-g / 2)
    t = tanh(log_gap * -0.5)
    r = tl.sqrt((t + t) / (t + 1.0))
    sine, cosine = sincos(uniform(a2, a3) * 3.14159265358979323846)
    # 1 -+ r cos f without cancellation; sine and cosine are those of f / 2
    lost = tl.exp(log_gap) / (r + 1.0)
    not_e = (lost + (r + r) * sine * sine) * 0.5
    e = (lost + (r + r) * cosine * cosine) * 0.5
    inverse = 1.0 / (not_e + b * e)
    return b * e * inverse * 2.0, not_e * inverse * 2.0, two_ab * inverse, tl.log(uniform(c0, c1))


@triton.jit
def draw(kappa, n, key, row, there):
    """1 - w and 1 + w, by at most ROUNDS proposals."""
    c = tl.sqrt(kappa * kappa * 4.0 + n * n)
    b = n / (kappa + kappa + c)
    two_ab = (n + kappa + kappa + c) * 0.5 * b
    top = (two_ab + two_ab) / (b + 1.0)
    power = 2.0 / (n - 1.0)  # infinity on the circle
    below = tl.zeros_like(kappa)
    above = tl.zeros_like(kappa)
    pending = there & (kappa == kappa)
    trial = 0
    while (trial < SAMPLE_ROUNDS) & any_of(pending):
        number = (row & 0) + trial
        to_below, to_above, s, chance = propose(key, row, number, n, b, two_ab, power)
        below = tl.where(pending, to_below, below)
        above = tl.where(pending, to_above, above)
        accept = n * tl.log(s / n) - s + top > chance
        pending = pending & (accept == 0)
        trial += 1
    return tl.where(kappa == kappa, below, kappa), above


@triton.jit
def path(
    plan, nodes, kappa, n, below, above,
    TERMS: tl.constexpr,
):  # fmt: skip
    """(dw/dkappa) / s^2 and (d^2w/dkappa^2) / s^2 at a fixed quantile, by quadrature."""
    w = (above - below) * 0.5
    s = tl.sqrt(below * above)
    s = tl.where(s < SAMPLE_SMALLEST, SAMPLE_SMALLEST, s)
    complement = bessel_ratio_complement(plan, kappa, TERMS)
    rate = bessel_ratio_slope(plan, kappa, TERMS)
    inner = below < complement
    side = tl.where(inner, -1.0, tl.zeros_like(w) + 1.0)
    cotangent = w / s
    curvature = kappa * w + (n - 1.0) / (s * s)
    curvature = tl.where(curvature > 0.0, curvature, 0.0)
    fall = side * (kappa * s - (n - 1.0) * cotangent)
    fall = tl.where(fall > 0.0, fall, 0.0)
    steepness = fall + tl.sqrt(fall * fall + curvature * 100.0)
    reach = 100.0 / tl.where(steepness < SAMPLE_SMALLEST, SAMPLE_SMALLEST, steepness)
    room = atan2(s, tl.where(inner, w, -w))
    reach = tl.where(reach < room, reach, room)
    first = tl.zeros_like(w)
    second = tl.zeros_like(w)
    for i in range(POINTS):
        node = tl.load(nodes + i)
        sine, cosine = sincos(side * reach * node * 0.5)  # of half the step
        drop = sine * (s * cosine + w * sine) * -2.0
        log_sine = log1p(sine * (cotangent * cosine - sine) * 2.0)
        g = tl.load(nodes + POINTS + i) * tl.exp(kappa * drop + (n - 1.0) * log_sine)
        distance = drop + (complement - below)
        first += g * tl.abs(distance)
        second += g * (distance * distance - rate)
    step = reach / s
    slope = first * step
    bend = slope * (complement - below) * -2.0
    bend -= slope * slope * (kappa * s * s - (n - 2.0) * w) + side * step * second
    return slope, bend


@triton.jit
def cosine_kernel(
    kappa, seeds, plan, nodes, cosine, sine, slope, bend, rows, dim, rows_per_seed, kappa_step,
    PATH: tl.constexpr, TERMS: tl.constexpr,
    LINES: tl.constexpr,
):  # fmt: skip
    row = positions(tl.program_id(0), LINES)
    there = row < rows
    n = tl.cast(dim, tl.float64) - 1.0
    k = tl.load(kappa + row * kappa_step, mask=there, other=0.0).to(tl.float64)
    k = tl.where(k < 0.0, float("nan"), k)
    key, number = row_keys(seeds, row, there, rows_per_seed)
    below, above = draw(k, n, key, number, there)
    tl.store(cosine + row, (above - below) * 0.5, mask=there)
    tl.store(sine + row, tl.sqrt(above * below), mask=there)
    if PATH:
        to_slope, to_bend = path(plan, nodes, k, n, below, above, TERMS)
        tl.store(slope + row, to_slope, mask=there)
        tl.store(bend + row, to_bend, mask=there)


# ---- the op ----------------------------------------------------------------------


@lru_cache(maxsize=64)
def _nodes(device: torch.device) -> Tensor:
    """Gauss and Legendre's nodes on (0, 1), then their weights."""
    mirrored = [1.0 - node for node in reversed(NODES)]
    numbers = [*NODES, *mirrored, *WEIGHTS, *reversed(WEIGHTS)]
    return make_table(numbers, torch.float64, device)


@planned(tensors=2)
def vmf_sample_cosine(concentration: Tensor, seed: Tensor, dim: int, slopes: bool) -> Call:
    """w = loc.x and sqrt(1 - w^2), and w's slope and bend where wanted."""
    shape = concentration.shape
    fits = (
        concentration.dtype in FLOATING
        and seed.dtype == torch.int64
        and seed.device == concentration.device
        and dim >= 2
        and seed.ndim <= len(shape)
        and seed.shape == shape[: seed.ndim]
    )
    if not fits:
        refuse("vmf_sample_cosine", concentration, seed, dim, slopes)
    rows, kappas = math.prod(shape), rows_of(concentration, shape, 0)
    device, wide = concentration.device, wide_of(concentration.dtype)
    constants = {"TERMS": (0, 0, 0)}
    tables: tuple[Tensor | None, ...] = (None, None)  # only paths read them
    if slopes:
        made = plan_at(dim / 2 - 1, True, device)
        tables, constants = (made.memory, _nodes(device)), made.constants
    paths = shape if slopes else (0,)
    return Call(
        cosine_kernel, ceil_div(rows, ELEMENTS), concentration,
        inputs=[kappas, contiguous(seed)], tables=tables,
        outputs=[(shape, wide), (shape, wide), (paths, wide), (paths, wide)],
        numbers=(rows, dim, math.prod(shape[seed.ndim :]), kappas.line),
        constants={"PATH": slopes, "LINES": ELEMENTS, "num_warps": 1, **constants},
    )  # fmt: skip

"""The plans of csrc/math/bessel_plan.h as memory of the device.

A plan is a row of numbers in the type of the computation: a header, then the polynomials,
each padded with zeros to its place.  It is made and copied once per order and device; a
kernel's compile-time arguments say how much of it is read, in steps, so that orders share
kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._extension import _C
from .engine.table import make_table

HEADER = ("v", "sigma", "inv_two_m", "offset", "log_gamma", "y_scale", "log_uniform", "factored")
DEBYE_PLACE, SERIES_PLACE, SQUARES_PLACE = 28, 48, 72
DEBYE, SERIES, SQUARES = ("p", "e", "m", "n", "w"), ("t0", "t1"), ("t2",)

# Places of the numbers and polynomials, for kernels.
V = tl.constexpr(0)
SIGMA = tl.constexpr(1)
INV_TWO_M = tl.constexpr(2)
OFFSET = tl.constexpr(3)
LOG_GAMMA = tl.constexpr(4)
Y_SCALE = tl.constexpr(5)
LOG_UNIFORM = tl.constexpr(6)
FACTORED = tl.constexpr(7)
P = tl.constexpr(8)
E = tl.constexpr(36)
M = tl.constexpr(64)
N = tl.constexpr(92)
W = tl.constexpr(120)
T0 = tl.constexpr(148)
T1 = tl.constexpr(196)
T2 = tl.constexpr(244)


@triton.jit
def polynomial(plan, PLACE: tl.constexpr, x, COUNT: tl.constexpr):
    """The plan's polynomial at PLACE, to COUNT terms."""
    r = tl.zeros_like(x) + tl.load(plan + PLACE + COUNT - 1)
    for i in tl.static_range(2, COUNT + 1):
        r = r * x + tl.load(plan + PLACE + COUNT - i)
    return r


@triton.jit
def polynomial_slope(plan, PLACE: tl.constexpr, x, COUNT: tl.constexpr):
    """The derivative of the same."""
    d = tl.zeros_like(x)
    r = tl.zeros_like(x) + tl.load(plan + PLACE + COUNT - 1)
    for i in tl.static_range(2, COUNT + 1):
        d = d * x + r
        r = r * x + tl.load(plan + PLACE + COUNT - i)
    return d


@dataclass(frozen=True)
class Plan:
    """A plan on a device, and how much of it to read."""

    memory: Tensor
    constants: dict[str, Any]


def _step(plan: dict[str, Any], names: tuple[str, ...], step: int) -> int:
    longest = max(len(plan[name]) for name in names)
    return (longest + step - 1) // step * step


@lru_cache(maxsize=1024)
def plan_at(order: float, double: bool, device: torch.device) -> Plan:
    """The plan of an order."""
    plan = _C.bessel_plan(order, double)
    numbers = [float(plan[name]) for name in HEADER]
    for names, place in ((DEBYE, DEBYE_PLACE), (SERIES, SERIES_PLACE), (SQUARES, SQUARES_PLACE)):
        for name in names:
            numbers += plan[name] + [0.0] * (place - len(plan[name]))
    series = plan["has_series"]
    # Of Debye's polynomials and of the series.
    terms = (
        _step(plan, DEBYE, 4),
        *[_step(plan, s, 8) if series else 0 for s in (SERIES, SQUARES)],
    )
    dtype = torch.float64 if double else torch.float32
    return Plan(make_table(numbers, dtype, device), {"TERMS": terms})

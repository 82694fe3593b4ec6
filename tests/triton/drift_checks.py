"""Every interpreted Triton kernel beside the compiled C++ one on arguments at the ends of the
ranges: the two copies of the mathematics are the same; run by test_interpreted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import flowkernels.ops
from flowkernels import _C
from flowkernels.ops.triton.bessel import ENTRIES
from flowkernels.ops.triton.bessel_order import DERIVATIVES
from flowkernels.ops.triton.engine.refuse import compiled

PRECISIONS = (torch.float32, torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def powers(dtype: torch.dtype, low: float = 1.0, high: float = 1.0, count: int = 25) -> Tensor:
    """Powers of ten over a part of the precision's range."""
    ends = (-44.0, 38.0) if dtype == torch.float32 else (-320.0, 307.0)
    return 10.0 ** torch.linspace(ends[0] * low, ends[1] * high, count, dtype=torch.float64)


def stereographic(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for d in (1, 3, 40):
        z = random(25, d) * powers(dtype, 0.9, 0.9)[:, None]
        near = random(25, d)
        near = near / near.norm(dim=1, keepdim=True) * (1 + 10.0 ** -torch.arange(25.0))[:, None]
        yield (torch.cat([z, near, torch.zeros(1, d)]).to(dtype),)


def stereographic_inverse(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for d in (1, 3, 40):
        h = random(25, d) * powers(dtype, 0.4, 0.0)[:, None]
        for last in (-1.0, 1.0, 0.3, -0.6):
            s = torch.cat([h, torch.full((25, 1), last)], 1)
            yield (s.to(dtype),)
            yield ((s * powers(dtype, 0.25, 0.25)[:, None]).to(dtype),)
        # Only the direction counts: rows from the shortest to the longest. Of two elements the
        # gradient is one number, whose terms may cancel.
        if d == 1:
            continue
        s = random(25, d + 1, seed=d)
        s = s / s.norm(dim=1, keepdim=True)
        yield ((s * powers(dtype, 0.8, 0.99)[:, None]).to(dtype),)
        yield ((s * powers(dtype, 0.8, 0.99).flip(0)[:, None]).to(dtype),)


def slerp(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    t = torch.tensor([0.0, 1e-3, 0.5, 0.75, 1.0], dtype=torch.float64).to(dtype)
    for d in (2, 3, 40):
        a, across = random(20, d), random(20, d, seed=1)
        angles = 10.0 ** torch.linspace(-16, 0, 20, dtype=torch.float64)[:, None]
        for sign in (1.0, -1.0):
            for lengths in ((1.0, 1.0), (1e-8, 1e5)):
                b = (sign * a + angles * across) * lengths[1]
                yield (a * lengths[0]).to(dtype), b.to(dtype), t


def vmf_log_prob(dtype: torch.dtype, latent: bool = False) -> Iterator[tuple[Any, ...]]:
    for p in (2, 3, 30, 785):
        kappa = torch.cat([torch.zeros(1, dtype=torch.float64), powers(dtype, 0.2, 0.9, 24)])
        loc = random(25, p)
        loc = loc / loc.norm(dim=1, keepdim=True)
        x = random(25, p - 1 if latent else p, seed=2)
        if not latent:
            x = loc + x / p**0.5 * 10.0 ** -torch.arange(25.0)[:, None]
            x = x / x.norm(dim=1, keepdim=True)
        yield x.to(dtype), loc.to(dtype), kappa.to(dtype), True
    if latent:
        z = random(25, 3) * powers(dtype, 0.4, 0.4)[:, None]
        loc = random(4)
        yield z.to(dtype), (loc / loc.norm()).to(dtype), torch.tensor(3.0).to(dtype), True


ORDERS = (0.0, 1.0, 11.9, 28.0, 391.5, 1e5)


def bessel(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for name, order in itertools.product(ENTRIES, (0.0, 1.0, 11.9, 28.0, 391.5, 1e5)):
        x = torch.cat([torch.zeros(1, dtype=torch.float64), powers(dtype, count=63)])
        if "concentration" in name:
            x = torch.cat([x[x <= 1], torch.linspace(0, 1, 20, dtype=torch.float64)])
        else:
            x = torch.cat([x, torch.linspace(1, 60, 30, dtype=torch.float64)])
            x = torch.cat([x, torch.tensor([float("inf"), float("nan")], dtype=torch.float64)])
        yield x.to(dtype), order, name


def bessel_order(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    orders = torch.tensor([0.0, 0.5, 1.0, 9.9, 27.9, 28.0, 391.5, 1e5], dtype=torch.float64)
    for name in ENTRIES:
        if name.startswith("vmf") or ENTRIES[name].function not in DERIVATIVES:
            continue
        x = torch.cat([powers(dtype, count=40), torch.linspace(1, 60, 20, dtype=torch.float64)])
        v, x = torch.meshgrid(orders, x, indexing="ij")
        yield x.reshape(-1).to(dtype), v.reshape(-1).to(dtype), name


def log_det_diagonal(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    yield (powers(dtype, count=200).to(dtype), 0)
    yield ((random(20, 30) * powers(dtype, 0.9, 0.9, 20)[:, None]).to(dtype), 1)


def affine_coupling(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    edges = torch.tensor([0.0, 1e-30, 1e-8, 1e-3, 0.3, 0.62, 0.63, 1.0, 5.0, 16.0, 30.0, 60.0])
    raw = torch.cat([edges, -edges, 3 * random(16)]).to(torch.float64).expand(2, -1)
    params = torch.cat([random(*raw.shape), raw], 1)
    for fn in _C.options()["scale_fn"]:
        for order, inverse in itertools.product(("scale_then_shift", "shift_then_scale"), (0, 1)):
            reduction = "none" if inverse else "row"
            options = (fn, 2.0, 1.0, "shift_scale", order, bool(inverse), "second", reduction)
            yield random(*raw.shape, seed=3).to(dtype), params.to(dtype), *options


def knots(raw: Tensor, bound: float, convention: str) -> Tensor:
    """Where the bins of raw widths (*, K) end."""
    if convention == "zuko":
        raw, least = raw / (1 + (raw * 2 / math.log(1e-3)).abs()), 0.0
    else:
        least = 1e-3
    widths = least + (1 - least * raw.shape[-1]) * raw.softmax(-1)
    return bound * (2 * widths.cumsum(-1) - 1)


def rational_quadratic_spline(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    """The ends of the interval, points outside, inner points and points beside knots."""
    rows, bins, bound = 12, 5, 3.0
    inner = random(rows, 4, seed=4).clamp(-1.2, 1.2) * 2.4
    ends = torch.tensor([bound, -bound, 1.5 * bound, 0.0]).expand(rows, -1)
    for spread, (boundary, extra) in itertools.product(
        (1.0, 10.0, 30.0, 1e4, 1e30), (("linear", -1), ("circular", 0), ("none", 1))
    ):
        raw = spread * random(rows, 12, 3 * bins + extra)
        if dtype == torch.float64:  # beside slopes of 1e30 half an ulp of the interval is the whole
            raw[..., 2 * bins :].clamp_(-1e4, 1e4)
        params = raw.flatten(1).to(dtype)
        for convention, inverse in itertools.product(("nflows", "zuko"), (False, True)):
            searched = raw[:, 8:].to(dtype).double()[..., bins if inverse else 0 :][..., :bins]
            beside = knots(searched, bound, convention).diagonal(dim1=1, dim2=2)[:, :4].to(dtype)
            towards = torch.tensor([-bound, bound, -bound, bound], dtype=dtype)
            x = torch.cat([ends.to(dtype), inner.to(dtype), beside.nextafter(towards)], 1)
            numbers = (1e-3, 1e-3, 1e-3, convention, 1.0, inverse, "second", "none")
            yield x, params, bins, bound, boundary, *numbers


def tangent_normal(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for p in (2, 3, 40):
        loc = random(20, p)
        loc[:, 0] *= 10.0 ** -torch.arange(20.0)
        loc = loc / loc.norm(dim=1, keepdim=True)
        w = torch.linspace(-1, 1, 20, dtype=torch.float64)
        yield loc.to(dtype), w.to(dtype), (1 - w * w).sqrt().to(dtype), torch.tensor(5)


def vmf_sample_cosine(dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for p in (2, 3, 785):
        yield powers(dtype, 0.1, 0.2, 60).to(dtype), torch.tensor(7), p, True


def spline_results(args: tuple[Any, ...], gradients: list[Tensor]) -> list[Tensor]:
    """Outputs and gradients of the compiled spline."""
    name = "rational_quadratic_spline"
    backward = compiled(f"{name}_backward")(*gradients, *args)
    return [t.double() for t in (*compiled(name)(*args), *backward)]


def spline_condition(args: tuple[Any, ...], gradients: list[Tensor]) -> list[Tensor]:
    """How far results move, in ulp, where each number that they are made of moves by one.

    Steep and flat bins amplify a rounding without bound, and gradients jump at a knot: points move
    both ways, by parts of an ulp and by several.  They stay inside or outside.
    """
    x, params, bins, bound, *_ = args
    clipped = "zuko" in args
    eps = torch.finfo(x.dtype).eps
    x, params, gradients = x.double(), params.double(), [g.double() for g in gradients]
    raw = params.view(*x.shape, -1)
    # A rounding of e^r or of a derivative, which far out is its raw parameter; zuko's are rounded
    # themselves.
    size = raw.abs().clamp_min(1.0)
    if not clipped:
        size[..., : 2 * bins] = 1.0
    size = size.view_as(params)
    base = spline_results((x, params, *args[2:]), gradients)
    moved = [torch.zeros_like(t) for t in base]
    for seed, ulps in enumerate((-8, -1, -1 / 16, 1 / 16, 1, 8)):
        point = x + ulps * eps * bound
        point = torch.where(x.abs() <= bound, point.clamp(-bound, bound), x)
        near = params + eps * size * random(*params.shape, seed=seed + 6).sign()
        now = spline_results((point, near, *args[2:]), gradients)
        moved = [m.maximum((a - b).abs() / eps) for m, a, b in zip(moved, now, base, strict=True)]
    # A softmax's gradients are differences from the gradients of where bins begin.
    starts = 2 * bound * (base[2].abs() + gradients[0].abs()).repeat_interleave(raw.shape[-1], 1)
    return [*moved[:3], moved[3].maximum(starts)]


def vmf_mixture(dtype: torch.dtype, weighted: bool = False) -> Iterator[tuple[Any, ...]]:
    for p, components in ((2, 1), (3, 7), (785, 3)):
        for scale in (0.0, 1e-3, 0.1, 1.0):
            x, locs = random(25, p), random(components, p, seed=1)
            x, locs = (t / t.norm(dim=1, keepdim=True) for t in (x, locs))
            kappas = scale * p * random(components, seed=2).exp()
            log_weights = (5 * random(components, seed=3)).log_softmax(0)
            given = [t.to(dtype) for t in (x, locs, kappas, log_weights)]
            if weighted:
                yield *given, random(25, seed=4).exp().to(dtype)
            else:
                yield *given, True
                yield *given, False


OPS = {
    "affine_coupling": affine_coupling,
    "bessel": bessel,
    "bessel_order": bessel_order,
    "log_det_diagonal": log_det_diagonal,
    "rational_quadratic_spline": rational_quadratic_spline,
    "slerp": slerp,
    "stereographic": stereographic,
    "stereographic_inverse": stereographic_inverse,
    "tangent_normal": tangent_normal,
    "vmf_log_prob": vmf_log_prob,
    "vmf_mixture_log_prob": vmf_mixture,
    "vmf_mixture_statistics": lambda dtype: vmf_mixture(dtype, weighted=True),
    "stereographic_vmf_log_prob": lambda dtype: vmf_log_prob(dtype, latent=True),
    "vmf_sample_cosine": vmf_sample_cosine,
}

# Ops with a log-det; of a point on the equator it is 0.
SUMS = ("affine_coupling", "rational_quadratic_spline", "stereographic", "stereographic_inverse")

# Ulps of a row's largest element between the two copies, of results and of gradients.  Both sum in
# an order of their own, and near an end of a range a rounding weighs as much as the condition
# there: the angles of slerp, A = I_{v+1} / I_v where the series end, a path's second derivative,
# points beside a spline's knots, kappa times the rounding of a mixture's products.
ALLOWED = {
    "affine_coupling": (24, 48),
    "bessel": (256, 384),
    "bessel_order": (96, 96),
    "log_det_diagonal": (4, 4),
    "rational_quadratic_spline": (32, 512),
    "slerp": (16, 384),
    "stereographic": (48, 16),
    "stereographic_inverse": (8, 24),
    "tangent_normal": (16, 64),
    "vmf_log_prob": (8, 16),
    "vmf_mixture_log_prob": (256, 4096),
    "vmf_mixture_statistics": (256, 4096),
    "stereographic_vmf_log_prob": (16, 256),
    "vmf_sample_cosine": (1e4, 0),
}


def results(function: Any, *args: Any) -> list[Tensor]:
    out = function(*args)
    return list(out) if isinstance(out, (tuple, list)) else [out]


def _complement(args: tuple[Any, ...]) -> Tensor:
    """1 - A at the concentrations of a density's arguments."""
    _, loc, kappa, _ = args
    return 1 - flowkernels.ops.vmf_mean_resultant(kappa.double(), loc.shape[-1])


def errors(name: str, dtype: torch.dtype) -> Iterator[tuple[str, float, Any]]:
    """(what, the largest difference in ulp of a row's largest element, where)."""
    for number, args in enumerate(OPS[name](dtype)):
        op = getattr(torch.ops.flowkernels, name).default
        mine, theirs = results(op, *args), results(compiled(name), *args)
        label = f"{name} {[a for a in args if not isinstance(a, Tensor)]} {number}"
        pairs = [
            (f"{label} output {i}", a, b) for i, (a, b) in enumerate(zip(mine, theirs, strict=True))
        ]
        if name != "vmf_sample_cosine":
            gradients = [random(*t.shape, seed=9).to(t.dtype) for t in theirs]
            op = getattr(torch.ops.flowkernels, f"{name}_backward").default
            mine = results(op, *gradients, *args)
            theirs = results(compiled(f"{name}_backward"), *gradients, *args)
            pairs += [
                (f"{label} gradient {i}", a, b)
                for i, (a, b) in enumerate(zip(mine, theirs, strict=True))
            ]
        conditions: list[Any] = [None] * len(pairs)
        if name == "rational_quadratic_spline":
            conditions = spline_condition(args, gradients)
        for (what, a, b), condition in zip(pairs, conditions, strict=True):
            if not b.numel():
                continue
            a, b = a.double(), b.double()
            # Rows whose gradient is beyond the largest number saturate, in one copy at infinity.
            huge = torch.finfo(dtype).max / 4
            beyond = (a.abs() > huge) & (b.abs() > huge) & (a.sign() == b.sign())
            if b.ndim > 1:
                beyond = beyond.any(-1, keepdim=True)
            same = (a == b) | (a.isnan() & b.isnan()) | beyond
            scale = b.abs().nan_to_num(0.0, 0.0)
            if b.ndim > 1:
                scale = scale.amax(-1, keepdim=True).expand_as(b)
            elif name.endswith("vmf_log_prob") and what.endswith("gradient 2"):
                # g (1 - A - |x - loc|^2 / 2), whose terms may cancel.
                terms = gradients[0].double().abs() * _complement(args)
                scale = scale.maximum(terms if b.ndim else terms.sum())
            elif name in SUMS:  # of logarithms, which may cancel
                scale = scale.clamp_min(1.0)
            if condition is not None:
                scale = scale.maximum(condition)
            tiny = torch.finfo(dtype).tiny
            ulps = (a - b).abs() / (torch.finfo(dtype).eps * scale.clamp_min(tiny))
            ulps = torch.where(same, 0.0, torch.where(ulps.isnan(), float("inf"), ulps))
            worst = int(ulps.reshape(-1).argmax())
            yield what, ulps.reshape(-1)[worst].item(), (
                worst, a.reshape(-1)[worst].item(), b.reshape(-1)[worst].item()
            )  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", PRECISIONS, ids=["float32", "float64"])
@pytest.mark.parametrize("name", OPS)
def test_the_copies_agree(name: str, dtype: torch.dtype) -> None:
    found = list(errors(name, dtype))
    assert found
    wrong = [row for row in found if not row[1] <= ALLOWED[name][" gradient " in row[0]]]
    assert not wrong, "\n".join(f"{what}: {ulps:.3g} ulp, {where}" for what, ulps, where in wrong)

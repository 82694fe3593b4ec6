"""Shapes, strides and dtypes that the CUDA kernels tell apart: few long rows and many
short ones, aligned and odd ones, halves, mixtures. They hold on every device:
FLOWKERNELS_TEST_DEVICE chooses one."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from torch import Tensor

from tests.ops.affine_coupling import AFFINE_COUPLING, AFFINE_COUPLING_SPLIT
from tests.ops.case import ALL_DTYPES, Case, Sample, cotangents
from tests.ops.log_det import LOG_DET_DIAGONAL
from tests.ops.promises import assert_near, wide
from tests.ops.slerp import SLERP
from tests.ops.stereographic import STEREOGRAPHIC, STEREOGRAPHIC_INVERSE
from tests.ops.tangent_normal import SEED, TANGENT_NORMAL
from tests.ops.vmf import VMF_CASES

DEVICE = os.environ.get("FLOWKERNELS_TEST_DEVICE", "cpu")
SHAPES = [
    (2, 128),
    (1, 20480),
    (3, 16411),
    (300, 3),
    (70, 24),
    (2, 4, 16, 16),
    (3, 2056),
    (9, 1100),
]


def _random(*shape: int) -> Tensor:
    # Away from 0, where a logarithm has no accurate gradient.
    x = torch.randn(shape, dtype=torch.float64).to(DEVICE)
    return x + 0.25 * torch.where(x < 0, -1.0, 1.0)


def _views(t: Tensor) -> list[Tensor]:
    """`t` where packs fit, where they do not, and spread out."""
    if t.ndim == 0:
        return [t, t, t]
    padded = t.new_zeros(t.shape[0], t[0].numel() + 1)
    odd = padded[:, 1:].view(t.shape)
    spread = t.new_zeros(*t.shape, 2)[..., 0]
    odd.copy_(t)
    spread.copy_(t)
    return [t, odd, spread]


def _raw(*shape: int) -> Tensor:
    """A conditioner's output of either sign, most of it positive.

    Else log-dets of long rows could be small sums of large terms, known no better than their terms.
    """
    return _random(*shape) + 0.5


def _coupling(shape: tuple[int, ...]) -> list[Sample]:
    x, params = _random(*shape), _raw(shape[0], 2 * shape[1], *shape[2:])
    options = [{}, {"inverse": True}, {"layout": "interleaved"}, {"reduction": "none"}]
    return [Sample(f"{shape}, {o}", (x, params), o) for o in options]


def _split(shape: tuple[int, ...]) -> list[Sample]:
    half = shape[1] // 2
    x, params = _random(*shape), _raw(shape[0], 2 * half, *shape[2:])
    return [
        Sample(f"{shape}, {t}", (x, params), {"transform": t}) for t in ("first", "second")
    ]  # fmt: skip


# Rows of a sphere or a plane: a thread each, a few threads, a warp, a block, longer than that.
ROWS = [(300, 3), (253, 10), (70, 24), (40, 130), (9, 1100), (2, 2056), (2, 12300)]


def _plane(*shape: int) -> Tensor:
    return _random(*shape) / shape[-1] ** 0.5


def _sphere(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(_random(*shape), dim=-1)


def _vmf(case: Case) -> list[Sample]:
    latent = case.op.startswith("stereographic")
    samples = []
    for n, p in ROWS:
        x = _plane(n, p - 1) if latent else _sphere(n, p)
        kappa = p * torch.linspace(0.2, 2, n, dtype=torch.float64).to(DEVICE)
        samples.append(Sample(f"{n}, {p}", (x, _sphere(n, p), kappa)))
        samples.append(Sample(f"{n}, {p}, one loc", (x, _sphere(p), kappa[n // 2])))
    return samples


def _tangent() -> list[Sample]:
    samples = []
    for n, p in ROWS:
        angle = torch.linspace(0.1, 3, n, dtype=torch.float64).to(DEVICE)
        for loc in (_sphere(n, p), _sphere(p)):
            tensors = (loc, angle.cos(), angle.sin())
            samples.append(Sample(f"{n}, loc {loc.shape}", tensors, {"seed": SEED.to(DEVICE)}))
    return samples


def _slerp() -> list[Sample]:
    fractions = torch.tensor([0.25, 1.125, -0.5], dtype=torch.float64).to(DEVICE)
    return [
        Sample(f"{x}, {t.shape}", (_random(*x), _random(*x), t))
        for x in ROWS
        for t in (fractions, fractions[0])
    ]


CASES = [
    dataclasses.replace(AFFINE_COUPLING, samples=lambda: [s for x in SHAPES for s in _coupling(x)]),
    dataclasses.replace(
        AFFINE_COUPLING_SPLIT, samples=lambda: [s for x in SHAPES for s in _split(x)]
    ),
    dataclasses.replace(
        LOG_DET_DIAGONAL,
        samples=lambda: [Sample(str(x), (_random(*x).flatten(1),)) for x in SHAPES],
    ),
    dataclasses.replace(
        STEREOGRAPHIC, samples=lambda: [Sample(str(x), (_plane(*x),)) for x in ROWS]
    ),
    dataclasses.replace(
        STEREOGRAPHIC_INVERSE, samples=lambda: [Sample(str(x), (_sphere(*x),)) for x in ROWS]
    ),
    dataclasses.replace(SLERP, samples=_slerp),
    dataclasses.replace(TANGENT_NORMAL, samples=_tangent),
    *(dataclasses.replace(c, samples=lambda c=c: _vmf(c)) for c in VMF_CASES),
]

NAMES = ["affine_coupling", "affine_coupling_split", *(c.op for c in CASES[2:])]


def check(case: Case, sample: Sample, views: list[tuple[Tensor, ...]]) -> None:
    """The values and gradients of `sample` in each of `views` are the reference's."""
    exact = wide(sample).leaves()
    want = case.outputs(case.reference, exact)
    like = case.outputs(case.call, sample)
    given = tuple(g.to(o.dtype) for g, o in zip(cotangents(want), like, strict=True))
    want_grads = torch.autograd.grad(want, exact.tensors, tuple(g.double() for g in given))
    for number, tensors in enumerate(views):
        leaves = tuple(t.detach().requires_grad_() for t in tensors)
        got = case.outputs(case.call, Sample("", leaves, sample.options))
        grads = torch.autograd.grad(got, leaves, given)
        label = f"{sample.label}, view {number}"
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_near(case, a, b, f"{label}, output {i}")
        for i, (a, b) in enumerate(zip(grads, want_grads, strict=True)):
            assert a.dtype == leaves[i].dtype
            assert_near(case, a, b, f"{label}, gradient {i}", factor=4)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: str(d).split(".")[1])
def test_layouts(case: Case, dtype: torch.dtype) -> None:
    for sample in case.samples():
        rounded = sample.to(dtype)
        check(case, rounded, list(zip(*(_views(t) for t in rounded.tensors), strict=True)))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_layouts_of_mixed_dtypes(half: torch.dtype) -> None:
    """Under autocast a conditioner hands half-precision parameters to float32 data."""
    for shape in ((5, 7), (300, 3), (3, 256), (1, 20480), (2, 4, 16, 16)):
        x, params = _random(*shape).float(), _raw(shape[0], 2 * shape[1], *shape[2:]).to(half)
        for mixed in ((x, params), (x.to(half), params.float())):
            for options in ({}, {"inverse": True}, {"layout": "interleaved"}):
                check(AFFINE_COUPLING, Sample(f"{shape}", mixed, options), [mixed])


@pytest.mark.parametrize("case", VMF_CASES, ids=lambda c: c.op)
def test_layouts_where_loc_needs_no_gradient(case: Case) -> None:
    latent = case.op.startswith("stereographic")
    for n, d in ((40, 132), (9, 1100)):
        x = _plane(n, d) if latent else _sphere(n, d)
        rounded = Sample("", (x, _sphere(d + latent), torch.tensor(float(d)).to(x))).to(
            torch.float32
        )
        exact = wide(rounded)
        leaves = [t.detach().requires_grad_() for t in (rounded.tensors[0], exact.tensors[0])]
        (got,) = case.outputs(case.call, Sample("", (leaves[0], *rounded.tensors[1:])))
        (want,) = case.outputs(case.reference, Sample("", (leaves[1], *exact.tensors[1:])))
        (got,) = torch.autograd.grad(got.sum(), leaves[0])
        (want,) = torch.autograd.grad(want.sum(), leaves[1])
        assert_near(case, got, want, f"{n}, {d}", factor=4)

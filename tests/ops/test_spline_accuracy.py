"""Rational-quadratic splines at the ends of their domain, and beside other libraries'.

Where bins are flat or steep a spline magnifies the rounding of its argument, whoever computes it:
round trips are compared with those of values that were computed in float64 and rounded once.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops.composite.rational_quadratic_spline import parameter_count
from flowkernels.ops.rational_quadratic_spline import Boundary, Convention

HALVES = (torch.float16, torch.bfloat16)
Result = tuple[Tensor, Tensor]


def drawn(
    rows: int, channels: int, std: float, bins: int = 8, boundary: Boundary = "linear"
) -> Result:
    """x inside the interval, and raw parameters, in float32."""
    g = torch.Generator().manual_seed(bins)
    x = 6 * torch.rand(rows, channels, generator=g) - 3
    parts = parameter_count(bins, boundary)
    return x, std * torch.randn(rows, channels * parts, generator=g)


def spline(x: Tensor, params: Tensor, **options: Any) -> Result:
    return ops.rational_quadratic_spline(x, params, reduction="none", **options)


def with_gradients(function: Callable[..., Result], x: Tensor, params: Tensor) -> list[Tensor]:
    """y, log_det and the gradients of x and params, for fixed gradients of the results."""
    leaves = x.detach().clone().requires_grad_(), params.detach().clone().requires_grad_()
    out = function(*leaves)
    given = [torch.arange(o.numel(), dtype=o.dtype).sin().view(o.shape) for o in out]
    return [*(o.detach() for o in out), *torch.autograd.grad(out, leaves, given)]


def relative(got: Tensor, want: Tensor) -> float:
    """The largest error relative to the largest value."""
    return ((got.double() - want).abs().max() / want.abs().max()).item()


@pytest.mark.parametrize("std", [1.0, 3.0, 10.0, 30.0])
@pytest.mark.parametrize("bins", [2, 8, 64])
@pytest.mark.parametrize("convention", ["nflows", "zuko"])
def test_round_trip(std: float, bins: int, convention: Convention) -> None:
    """The error is that of values which were computed in float64 and rounded once."""
    x, params = drawn(2048, 8, std, bins)
    options = {"bins": bins, "convention": convention}
    y, log_det = spline(x, params, **options)
    back, back_log_det = spline(y, params, inverse=True, **options)
    rounded = spline(x.double(), params.double(), **options)[0].float()
    exact, _ = spline(rounded.double(), params.double(), inverse=True, **options)
    assert log_det.isfinite().all()
    assert back_log_det.isfinite().all()
    error, unavoidable = ((t.double() - x.double()).abs().mean() for t in (back, exact))
    assert error <= 2 * unavoidable + 5e-8


@pytest.mark.parametrize("bins", [2, 8, 33, 64])
def test_round_trip_of_moderate_parameters(bins: int) -> None:
    x, params = drawn(8192, 8, 0.3, bins)
    y, _ = spline(x, params, bins=bins)
    back, _ = spline(y, params, bins=bins, inverse=True)
    assert (back - x).abs().max() < 1e-5


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("std", [1.0, 10.0, 1e3, 1e30])
def test_a_million_parameters_give_finite_results(std: float, inverse: bool) -> None:
    x, params = drawn(5500, 8, std)
    assert params.numel() > 1e6
    results = with_gradients(lambda a, b: spline(1.2 * a, b, inverse=inverse), x, params)
    assert all(r.isfinite().all() for r in results)


@pytest.mark.parametrize("bound", [0.1, 3.0, 32.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
def test_ends_of_the_interval(bound: float, dtype: torch.dtype) -> None:
    """The ends are mapped to themselves; beyond them the map is the identity, exactly."""
    ends = torch.tensor([bound, -bound]).to(dtype)
    bound = ends[0].item()  # a number of this dtype
    beyond = torch.nextafter(ends.float(), ends.float() * 2).to(dtype) * 1.01
    x = torch.cat([ends, beyond, torch.tensor([float("inf"), -float("inf")], dtype=dtype)])[:, None]
    params = torch.randn(6, 23, generator=torch.Generator().manual_seed(0)).to(dtype)
    for inverse in (False, True):
        y, log_det = spline(x, params, bound=bound, inverse=inverse)
        torch.testing.assert_close(y[:2], x[:2], rtol=2 * torch.finfo(dtype).eps, atol=0)
        assert torch.equal(y[2:], x[2:])
        assert (log_det[2:] == 0).all()
        assert log_det.isfinite().all()
        # The derivative is 1 where the lines begin.
        torch.testing.assert_close(log_det[:2], torch.zeros_like(log_det[:2]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("boundary", ["circular", "none"])
def test_ends_of_steep_curves(boundary: Boundary, dtype: torch.dtype) -> None:
    """Derivatives beyond all reason do not move the ends."""
    g = torch.Generator().manual_seed(0)
    params = 1e30 * torch.randn(50, parameter_count(5, boundary), generator=g).to(dtype)
    for end, inverse in itertools.product((3.0, -3.0), (False, True)):
        x = torch.full((50, 1), end, dtype=dtype)
        y, _ = spline(x, params, bins=5, boundary=boundary, inverse=inverse)
        torch.testing.assert_close(y, x, rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_nan_stays_and_reaches_nothing_else() -> None:
    x, params = drawn(64, 4, 1.0)
    wants = spline(x, params)
    x[5, 2] = float("nan")
    for got, want in zip(spline(x, params), wants, strict=True):
        assert got[5, 2].isnan()
        got[5, 2] = want[5, 2] = 0
        assert torch.equal(got, want)


def test_gradients_of_points_outside() -> None:
    """Those of the identity."""
    x, params = drawn(64, 4, 1.0)
    _, _, grad_x, grad_params = with_gradients(spline, x.sign() * 3.5, params)
    assert torch.equal(grad_x, torch.arange(x.numel(), dtype=x.dtype).sin().view(x.shape))
    assert (grad_params == 0).all()


def test_a_spline_of_equal_parameters_is_the_identity() -> None:
    """Bins of one size, and the raw derivative whose softplus is 1 - min_derivative."""
    x, _ = drawn(500, 3, 1.0)
    raw = torch.zeros(500, 3, 23)
    raw[..., 16:] = torch.tensor(0.999, dtype=torch.float64).expm1().log().item()
    y, log_det = spline(x, raw.flatten(1))
    torch.testing.assert_close(y, x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det, torch.zeros_like(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: str(d).split(".")[1])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    x, params = (t.to(dtype) for t in drawn(512, 8, 1.0))
    y, log_det = spline(x, params)
    wide_y, wide_log_det = spline(x.float(), params.float())
    assert torch.equal(y, wide_y.to(dtype))
    assert torch.equal(log_det, wide_log_det)


# ---- other libraries ------------------------------------------------------------------


def _parts(x: Tensor, params: Tensor) -> tuple[Tensor, ...]:
    raw = params.view(*x.shape, -1)
    return raw.split([8, 8, raw.shape[-1] - 16], -1)


def nflows(x: Tensor, params: Tensor, boundary: str, inverse: bool) -> Result:
    splines = importlib.import_module("nflows.transforms.splines.rational_quadratic")
    if boundary == "linear":
        out: Result = splines.unconstrained_rational_quadratic_spline(
            x, *_parts(x, params), inverse=inverse, tail_bound=3.0
        )
    else:
        out = splines.rational_quadratic_spline(
            x, *_parts(x, params), inverse=inverse, left=-3.0, right=3.0, bottom=-3.0, top=3.0
        )
    return out


def normflows(x: Tensor, params: Tensor, boundary: str, inverse: bool) -> Result:
    splines = importlib.import_module("normflows.utils.splines")
    out: Result = splines.unconstrained_rational_quadratic_spline(
        x, *_parts(x, params), inverse=inverse, tails=boundary, tail_bound=3.0
    )
    return out


def zuko(x: Tensor, params: Tensor, boundary: str, inverse: bool) -> Result:
    transforms = importlib.import_module("zuko.transforms")
    transform = transforms.MonotonicRQSTransform(*_parts(x, params), bound=3.0)
    if not inverse:
        out: Result = transform.call_and_ladj(x)
        return out
    y = transform._inverse(x)
    return y, -transform.call_and_ladj(y)[1]


PEERS: dict[Convention, tuple[Callable[..., Result], tuple[Boundary, ...]]] = {
    "nflows": (nflows, ("linear", "none")),
    "normflows": (normflows, ("linear", "circular")),
    "zuko": (zuko, ("linear",)),
}


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    ("convention", "boundary"),
    [(name, b) for name, (_, boundaries) in PEERS.items() for b in boundaries],
)
def test_parity_with(convention: Convention, boundary: Boundary, inverse: bool) -> None:
    """In value, log-det and both gradients: float64 to 1e-12, float32 far closer than the peer."""
    pytest.importorskip(convention, reason=f"{convention} is not installed (extra `peers`)")
    peer, _ = PEERS[convention]
    x, params = drawn(256, 8, 0.5, boundary=boundary)
    x = 0.97 * x  # a peer's search fails at the ends
    options = {"convention": convention, "boundary": boundary, "inverse": inverse}

    def theirs(a: Tensor, b: Tensor) -> Result:
        return peer(a, b, boundary, inverse)

    def ours(a: Tensor, b: Tensor) -> Result:
        return spline(a, b, **options)

    want = with_gradients(theirs, x.double(), params.double())
    for got, exact in zip(with_gradients(ours, x.double(), params.double()), want, strict=True):
        assert relative(got, exact) < 1e-12
    # An inverse magnifies the rounding of its argument where a bin is flat.
    allowed = 1e-5 if inverse else 2e-6
    for got, exact in zip(with_gradients(ours, x, params), want, strict=True):
        assert relative(got, exact) < allowed


@pytest.mark.parametrize(
    ("boundary", "channels"), [*itertools.product(("linear", "circular", "none"), (1, 4))]
)
def test_parameters_of_a_channel_lie_together(boundary: Boundary, channels: int) -> None:
    """(B, C M, *S) is (B, C, M, *S): each channel and position for itself gives the same."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, channels, 2, 5, generator=g)
    parts = parameter_count(8, boundary)
    params = torch.randn(3, channels * parts, 2, 5, generator=g)
    y, log_det = spline(x, params, boundary=boundary)
    raw = params.view(3, channels, parts, 2, 5)
    for c, i, j in itertools.product(range(channels), range(2), range(5)):
        one = spline(x[:, c, i, j, None], raw[:, c, :, i, j], boundary=boundary)
        assert torch.equal(one[0][:, 0], y[:, c, i, j])
        assert torch.equal(one[1][:, 0], log_det[:, c, i, j])

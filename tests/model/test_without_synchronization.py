"""Code paths without host synchronization give the same results as the CPU's shortcuts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowkernels.bases import ConditionalNormal, ResampledBase
from flowkernels.bijections import ActNorm, Dequantize, VariationalDequantize
from flowkernels.flows import Flow, glow, realnvp
from flowkernels.interpolation import (
    CauchyLength,
    Chi,
    StandardNormal,
    cauchy_linear,
    spherical_cauchy_linear,
)
from flowkernels.synchronization import readable_without_sync

WithoutSync = Callable[[], AbstractContextManager[None]]
FLOWS: list[Callable[[], Flow]] = [
    lambda: realnvp(4, layers=2, hidden=8, context=3, base=ConditionalNormal(4, 3)),
    lambda: glow(
        (1, 4, 4), levels=1, steps=2, hidden=8, dequantize=False, context=2,
        embedding=nn.Embedding(3, 2), context_shape=(),
    ),
]  # fmt: skip


@pytest.fixture
def without_sync() -> WithoutSync:
    """Makes every module of the library take the code path of a GPU."""
    using = [
        m
        for name, m in sys.modules.items()
        if name.startswith("flowkernels.")
        and vars(m).get("readable_without_sync") is readable_without_sync
    ]
    assert len(using) >= 5

    @contextmanager
    def inside() -> Iterator[None]:
        with ExitStack() as stack:
            for m in using:
                stack.enter_context(
                    mock.patch.object(m, "readable_without_sync", return_value=False)
                )
            yield

    return inside


def test_actnorm_initialises_the_same(without_sync: WithoutSync) -> None:
    x = 5 + 2 * torch.randn(64, 3, 4)
    expected, layer = ActNorm(3), ActNorm(3)
    expected(x)
    with without_sync():
        layer(x)
        ActNorm(3)(x[:0])
    assert layer.initialized
    for name, value in expected.state_dict().items():
        assert torch.equal(value, layer.state_dict()[name])


def test_actnorm_passes_non_finite_values_on(without_sync: WithoutSync) -> None:
    with without_sync():
        z, _ = ActNorm(2)(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))
    assert z[:, 0].isfinite().all()
    assert z[:, 1].isnan().all()


def test_invalid_levels_become_nan(without_sync: WithoutSync) -> None:
    x = torch.tensor([[0.0, 255.0, 256.0, -1.0, 0.5, float("nan")]])
    with without_sync():
        z, log_det = Dequantize()(x)
    assert z.isnan().tolist() == [[False, False, True, True, True, True]]
    assert log_det.isfinite().all()
    with without_sync():
        assert torch.equal(Dequantize().centre(x[:, :2])[0], Dequantize().centre(x[:, :2])[0])
    levels = torch.tensor([[3, 4]], dtype=torch.uint8)
    with without_sync():
        assert Dequantize(4)(levels)[0].isnan().tolist() == [[False, True]]


def test_invalid_levels_of_one_image_leave_the_others(without_sync: WithoutSync) -> None:
    x = torch.zeros(3, 1, 4, 4)
    x[1, 0, 2, 3] = 256
    with without_sync():
        z, log_det = VariationalDequantize(1)(x)
    assert z[1, 0, 2, 3].isnan()
    assert z[::2].isfinite().all()
    assert log_det.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("scale", [1.0, 80.0])
def test_cauchy_paths(without_sync: WithoutSync, scale: float) -> None:
    dim = 9
    a, b = scale * torch.randn(2, 5, dim, dtype=torch.float64)
    t = torch.linspace(0, 1, 4, dtype=torch.float64)
    for path in (
        cauchy_linear(StandardNormal()),
        spherical_cauchy_linear(Chi(dim)),
        spherical_cauchy_linear(CauchyLength(dim)),
    ):
        expected = path(a, b, t)
        with without_sync():
            assert_close(path(a, b, t), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 7, 16, 50, 300, 784, 3072, 100_000])
def test_length_needs_no_more_terms(without_sync: WithoutSync, dim: int) -> None:
    law = CauchyLength(dim)
    x = torch.logspace(-3, 6, 3001, dtype=torch.float64) * dim**0.5
    expected = law.cdf(x), law.sf(x)
    with without_sync():
        # a further term is a factor of 1 in exact arithmetic, but adds a rounding error here
        assert_close((law.cdf(x), law.sf(x)), expected, rtol=2e-13 + 5e-17 * dim, atol=0)


@pytest.mark.parametrize("truncation", [2, 7, 100])
@pytest.mark.parametrize("block", [1, 1 << 24])
def test_proposals_of_a_resampled_base(
    without_sync: WithoutSync, monkeypatch: pytest.MonkeyPatch, truncation: int, block: int
) -> None:
    """The mean number of proposals and the moments of the accepted values agree."""
    monkeypatch.setattr("flowkernels.bases.resampled._BLOCK_WITHOUT_SYNC", block)
    base = ResampledBase(4, groups=2, hidden=(8,), truncation=truncation).eval()
    with torch.no_grad():
        for parameter in base.acceptance.parameters():
            parameter.copy_(torch.randn_like(parameter))
        base.acceptance.biases[-1].sub_(1.0)
    count = 20_000
    with without_sync():
        e, taken = base.draw(count)
    expected = base.expected_proposals()
    error = taken.double().std(0) / count**0.5
    assert ((taken.double().mean(0) - expected).abs() < 5 * error + 0.02 * expected).all()
    assert taken.min() >= 1 and taken.max() <= truncation
    other = base.draw(count)[0]
    for moment in (lambda x: x, lambda x: x.square(), lambda x: x.roll(1, -1) * x):
        spread = (moment(e).var(0) + moment(other).var(0)).sqrt() / count**0.5
        assert ((moment(e).mean(0) - moment(other).mean(0)).abs() < 5 * spread).all()
    with without_sync():
        assert base.draw(0)[0].shape == (0, 4)


def test_last_proposal_is_always_accepted(without_sync: WithoutSync) -> None:
    base = ResampledBase(2, truncation=10, hidden=(4,)).eval()
    with torch.no_grad():
        base.acceptance.biases[-1].fill_(-200.0)
    with without_sync():
        e, taken = base.draw(1000)
    assert (taken == 10).all()
    assert abs(float(e.mean())) < 0.1


@pytest.mark.parametrize("make", FLOWS, ids=["vectors", "classes"])
def test_flows_with_a_context(without_sync: WithoutSync, make: Callable[[], Flow]) -> None:
    flow = make().train()
    x, context = torch.randn(6, 2, 1, 4, 4), torch.randint(3, (6, 1))
    if flow.event_shape == (4,):
        x, context = torch.randn(6, 2, 4), torch.randn(6, 1, 3)
    with without_sync():
        started = flow.log_prob(x, context)
        value = flow.log_prob(x, context)
        draws = flow.sample(5, context[:, 0])
    assert_close(value, started)
    assert_close(flow.log_prob(x, context), value)
    assert draws.shape == (6, 5, *flow.event_shape)


@pytest.mark.parametrize("make", FLOWS, ids=["vectors", "classes"])
def test_flows_with_a_context_on_meta(make: Callable[[], Flow]) -> None:
    flow = make().to("meta").train()
    if flow.event_shape == (4,):
        x, context = torch.empty(5, 4, device="meta"), torch.empty(5, 3, device="meta")
    else:
        x = torch.empty(5, 1, 4, 4, device="meta")
        context = torch.empty(5, dtype=torch.long, device="meta")
    loss = -flow.log_prob(x, context).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in flow.parameters())
    assert flow.inverse(flow(x, context)[0], context)[0].shape == x.shape


@pytest.mark.parametrize("base", ["normal", "vmf", "resampled", "isotropic_cauchy"])
def test_flows_on_meta(base: str) -> None:
    """A step on meta tensors, including the initialisation of actnorm."""
    flow = realnvp(6, layers=2, hidden=8, base=base).to("meta").train()
    x = torch.empty(5, 6, device="meta")
    loss = -flow.log_prob(x).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    assert loss.shape == ()
    assert flow.inverse(flow(x)[0])[0].shape == x.shape

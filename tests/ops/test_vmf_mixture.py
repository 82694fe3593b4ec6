"""Mixtures of von Mises-Fisher distributions at their edges; parity is test_promises.py's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from flowkernels import ops


def _mixture(n: int, p: int, k: int, kappa: float, dtype: torch.dtype) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(n + p + k)
    x, locs = (torch.randn(m, p, dtype=torch.float64, generator=g) for m in (n, k))
    x, locs = (t / t.norm(dim=-1, keepdim=True) for t in (x, locs))
    log_weights = torch.randn(k, dtype=torch.float64, generator=g).log_softmax(0)
    concentrations = kappa * (0.5 + torch.rand(k, dtype=torch.float64, generator=g))
    return tuple(t.to(dtype) for t in (x, locs, concentrations, log_weights))


def test_a_component_without_weight_is_not_there() -> None:
    x, locs, kappas, log_weights = _mixture(90, 5, 4, 20.0, torch.float64)
    log_weights[2] = -float("inf")
    log_weights.requires_grad_()
    log_prob, log_r = ops.vmf_mixture_log_prob(x, locs, kappas, log_weights)
    kept = [0, 1, 3]
    want, shares = ops.vmf_mixture_log_prob(x, locs[kept], kappas[kept], log_weights[kept])
    torch.testing.assert_close(log_prob, want, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(log_r[:, kept], shares, rtol=1e-13, atol=1e-13)
    assert (log_r[:, 2] == -float("inf")).all()
    (grad,) = torch.autograd.grad(log_prob.sum(), log_weights)
    assert grad.isfinite().all() and grad[2] == 0


def test_without_any_weight_there_is_no_density() -> None:
    x, locs, kappas, log_weights = _mixture(70, 3, 2, 5.0, torch.float32)
    nothing = torch.full_like(log_weights, -float("inf"))
    log_prob, _ = ops.vmf_mixture_log_prob(x, locs, kappas, nothing, responsibilities=False)
    assert (log_prob == -float("inf")).all()


@pytest.mark.parametrize(("p", "kappa"), [(3, 50.0), (768, 1e3), (4096, 3e3)])
def test_float32_loses_no_more_than_the_products(p: int, kappa: float) -> None:
    """Densities far from 1 do not cost the responsibilities digits: at p = 4096 log C is 9,000."""
    exact = _mixture(300, p, 6, kappa, torch.float32)
    log_prob, log_r = ops.vmf_mixture_log_prob(*exact)
    want_p, want_r = ops.vmf_mixture_log_prob(*(t.double() for t in exact))
    allowed = 3e-7 * 1.5 * kappa
    assert (log_r - want_r).abs().max() < allowed
    # The density itself is rounded to float32 once.
    assert (log_prob - want_p).abs().max() < allowed + 6e-8 * want_p.abs().max()


def test_sums_of_many_points() -> None:
    """In float32 the error does not grow with the number of points."""
    mixture = _mixture(200_000, 3, 3, 10.0, torch.float32)
    _, counts, sums = ops.vmf_mixture_statistics(*mixture)
    _, want_counts, want_sums = ops.vmf_mixture_statistics(*(t.double() for t in mixture))
    assert counts.dtype == sums.dtype == torch.float64
    assert abs(counts.sum().item() - 200_000) < 0.02
    torch.testing.assert_close(counts, want_counts, rtol=2e-6, atol=0)
    assert (sums - want_sums).abs().max() < 2e-6 * want_counts.max()


def test_statistics_are_the_gradients_of_the_density() -> None:
    """d sum s log p: to log w the counts, to loc the sums times kappa."""
    x, locs, kappas, log_weights = _mixture(500, 6, 3, 8.0, torch.float64)
    weights = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    locs.requires_grad_()
    log_weights.requires_grad_()
    log_prob, _ = ops.vmf_mixture_log_prob(x, locs, kappas, log_weights, responsibilities=False)
    of_locs, of_weights = torch.autograd.grad((weights * log_prob).sum(), (locs, log_weights))
    with torch.no_grad():
        same, counts, sums = ops.vmf_mixture_statistics(x, locs, kappas, log_weights, weights)
    assert torch.equal(same, log_prob)
    torch.testing.assert_close(of_weights, counts, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(of_locs, kappas[:, None] * sums, rtol=1e-13, atol=1e-13)


def _largest_allocation(call: object) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()  # type: ignore[operator]
    return max(event.cpu_memory_usage for event in recorded.events())


def test_responsibilities_are_in_memory_only_where_asked_for() -> None:
    mixture = _mixture(20_000, 8, 200, 5.0, torch.float32)
    whole = 20_000 * 200 * 4
    assert _largest_allocation(lambda: ops.vmf_mixture_log_prob(*mixture)) >= whole
    leaves = [t.requires_grad_() for t in mixture]

    def forward_and_backward() -> None:
        ops.vmf_mixture_log_prob(*leaves, responsibilities=False)[0].sum().backward()

    assert _largest_allocation(forward_and_backward) < whole / 2
    with torch.no_grad():
        assert _largest_allocation(lambda: ops.vmf_mixture_statistics(*mixture)) < whole / 2

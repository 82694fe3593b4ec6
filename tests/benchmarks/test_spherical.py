"""The peers of `benchmarks.spherical` are right, and the concentration is that of 50 digits."""

from __future__ import annotations

import pytest
import torch
from mpmath import mp, mpf

from benchmarks import spherical_peers as peers
from benchmarks.spherical import SOLVERS, ours
from benchmarks.spherical_page import PAGE, written
from flowkernels import ops
from tests.distributions.cases import within


def test_exact_ratio() -> None:
    with mp.workdps(peers.DIGITS):
        for dim, kappa in ((3, 0.5), (64, 100.0), (4096, 10.0)):
            want = mp.besseli(mpf(dim) / 2, kappa) / mp.besseli(mpf(dim) / 2 - 1, kappa)
            assert abs(peers.exact_ratio(dim, kappa) / want - 1) < mpf(10) ** -40


@pytest.mark.parametrize("dim", [3, 64, 1024, 4096])
@pytest.mark.parametrize("kappa", [1.0, 50.0, 1000.0])
def test_concentration_against_50_digits(dim: int, kappa: float) -> None:
    with mp.workdps(peers.DIGITS):
        r = float(peers.exact_ratio(dim, kappa))
        root = peers.exact_root(dim, r, kappa)
        assert abs(root / kappa - 1) < 1e-11  # r is rounded
        assert abs(ours(dim, r) / root - 1) < 1e-14


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "Banerjee 2005"])
def test_peers_solve(name: str) -> None:
    r = float(peers.exact_ratio(16, 10.0))
    assert abs(SOLVERS[name](16, r) / 10 - 1) < 1e-3
    assert abs(peers.banerjee(16, r) / 10 - 1) > 1e-3


def test_torch_sampler_has_the_mean_cosine() -> None:
    loc = torch.nn.functional.normalize(torch.arange(1.0, 65, dtype=torch.float64), dim=0)
    for kappa in (1.0, 100.0):
        x = peers.wood_torch(loc, kappa, 4000)
        assert (x.norm(dim=-1) - 1).abs().max() < 1e-12
        assert within(x @ loc, ops.vmf_mean_resultant(kappa, 64))


def test_the_page_has_the_measured_tables() -> None:
    page = PAGE.read_text()
    assert page == written(page)
    assert page.count("| fails |") > 10

"""Special functions compared with SciPy's ive, and sampling compared with torch.randn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ive

from flowkernels import ops, special

from .interleaved import Block, Call, Peers, compare

ROUNDS = 31
DIM, COUNT = 785, 100_000
POINTS, SPACE = 20_000, 256


def _log_normalizer_and_mean() -> tuple[Call, dict[str, Call]]:
    """Log C and A in float64, at values of kappa that SciPy's ive supports."""
    kappa = DIM * (0.25 + 2 * np.random.default_rng(0).random(COUNT))

    def ours() -> tuple[Any, Any]:
        return special.vmf_log_normalizer(kappa, DIM), special.vmf_mean_resultant(kappa, DIM)

    def scipy() -> tuple[Any, Any]:
        v = DIM / 2 - 1
        low = ive(v, kappa)
        log_c = v * np.log(kappa) - DIM / 2 * math.log(2 * math.pi) - np.log(low) - kappa
        return log_c, ive(v + 1, kappa) / low

    for a, b in zip(ours(), scipy(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    return ours, {"scipy ive": scipy}


def _samples() -> tuple[Call, dict[str, Call]]:
    """Draws in float32 with kappa = d; the cosine must have mean A."""
    loc = torch.nn.functional.normalize(torch.ones(SPACE), dim=0)
    kappa = torch.tensor(float(SPACE))

    def ours() -> torch.Tensor:
        return ops.vmf_sample(loc, kappa, (POINTS,))

    torch.manual_seed(0)
    cosine, mean = ours() @ loc, ops.vmf_mean_resultant(kappa, SPACE)
    assert (cosine.mean() - mean).abs() < 5 * cosine.std() / POINTS**0.5
    return ours, {"randn": lambda: torch.randn(POINTS, SPACE)}


# name: (maker of the calls, items per call)
COMPARISONS = {
    "log C and A, p = 785": (_log_normalizer_and_mean, COUNT),
    "vMF samples, d = 256": (_samples, POINTS),
}


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", COMPARISONS, ids=["log_normalizer", "samples"])
def test_special(benchmark: Any, name: str, pytestconfig: pytest.Config) -> None:
    """One thread; fail without a time if results differ."""
    torch.set_num_threads(1)
    make, items = COMPARISONS[name]
    call, reference = make()
    # As long as SciPy's call: a short block after its 60 ms would time cold caches.
    ours = Block.of(call, seconds=0.02)
    peers = Peers(reference, pytestconfig.getoption("clock"))
    benchmark.group = "special"
    benchmark.pedantic(ours, setup=peers, rounds=ROUNDS, warmup_rounds=2)
    seconds = [t / ours.calls for t in benchmark.stats.stats.data]
    benchmark.extra_info |= compare(seconds, peers.seconds).facts()
    benchmark.extra_info |= {"kind": "special", "what": name, "items": items, "threads": 1}

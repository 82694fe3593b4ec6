"""Batches that are iterated once a pass, and streams that are seen once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture
from flowkernels.cluster._group import Group
from flowkernels.cluster._sources import Batches, Points, keep

from .problems import Array, mixture_data

X, LABELS, LOCS = mixture_data(900, 5, 3, 40.0, seed=0)
KINDS = pytest.mark.parametrize("kind", [SphericalKMeans, VonMisesFisherMixture])


def centres(fit: Any) -> Any:
    return fit.cluster_centers_ if isinstance(fit, SphericalKMeans) else fit.locs_


def parts(x: Any, size: int = 130) -> list[Any]:
    return [x[start : start + size] for start in range(0, len(x), size)]


@KINDS
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_batches_are_the_whole(kind: Any, make: Any) -> None:
    x = make(X)
    weights = make(np.random.default_rng(0).exponential(size=len(X)))
    batches = list(zip(parts(x), parts(weights), strict=True))
    passes = 0

    def again() -> Iterator[Any]:
        nonlocal passes
        passes += 1
        yield from batches

    whole = kind(3, random_state=0).fit(x, sample_weight=weights)
    for given in (batches, again):
        fit = kind(3, random_state=0).fit_batches(given)
        assert isinstance(centres(fit), type(x))
        np.testing.assert_allclose(centres(fit), centres(whole), rtol=0, atol=1e-9)
        assert fit.n_iter_ == whole.n_iter_ and fit.n_features_in_ == 5
    # One for the width, one for the sample; then the E steps.
    assert passes <= 2 + (whole.n_iter_ + 1) + 1
    assert not hasattr(fit, "labels_")


@KINDS
def test_batches_that_cannot_be_used(kind: Any) -> None:
    for batches, error, message in (
        (iter([X]), TypeError, "iterated once a pass, got an iterator"),
        ((part for part in [X]), TypeError, "iterated once a pass, got an iterator"),
        (3, TypeError, "must be an iterable or a function that returns one, got int"),
        ([], ValueError, "must not be empty"),
        ([X, X[:, :3]], ValueError, "must all have 5 features on cpu, got 3 on cpu"),
        ([(X, None, None)], TypeError, r"must be X or \(X, sample_weight\), got a tuple of 3"),
        ([np.zeros_like(X)], ValueError, "got zeros in row 0"),
    ):
        with pytest.raises(error, match=f"{kind.__name__}.*{message}"):
            kind(3).fit_batches(batches)


def random_keys(rng: np.random.Generator, rows: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(rng.random(len(rows)))


def test_sample_of_batches_is_uniform() -> None:
    """1000 rows in uneven batches, 200 kept: each with probability 1/5, in order."""
    angle = np.arange(1000) / 1000
    x = np.stack((np.cos(angle), np.sin(angle)), 1)
    counts = np.zeros(10)
    group = Group("owner", False)
    for seed in range(60):
        keys = partial(random_keys, np.random.default_rng(seed))
        for source in (
            Points("owner", x, None, True),
            Batches("owner", [x[:700], x[700:720], x[720:]], True),
        ):
            rows, weights, total = keep(source, 200, keys, group)
            assert total == 1000 and rows.shape == (200, 2) and weights.tolist() == [1.0] * 200
            found = torch.atan2(rows[:, 1], rows[:, 0])
            assert (found.diff() > 0).all()
            counts += np.histogram(found.numpy(), bins=10, range=(0, 1))[0]
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.01)


@KINDS
def test_stream_comes_near_the_fit(kind: Any) -> None:
    x, _, locs = mixture_data(6000, 5, 3, 40.0, seed=1)
    stream = kind(3, random_state=0)
    for part in parts(x, 200):
        stream.partial_fit(part)
    assert stream.n_steps_ == 30
    near = (centres(stream) @ locs.T).argmax(1)
    assert sorted(near) == [0, 1, 2]
    whole = kind(3, init=locs).fit(x)
    assert stream.score(x) >= whole.score(x) - abs(whole.score(x)) * 0.01


@KINDS
def test_stream_follows_a_drift(kind: Any) -> None:
    before, _, _ = mixture_data(1000, 3, 1, 200.0, seed=2)
    after = before @ np.diag([-1.0, -1.0, 1.0])
    stream = kind(1, random_state=0, learning_decay=0.5).fit(before)
    for part in parts(after, 50):
        stream.partial_fit(part)
    towards = after.mean(0) / np.linalg.norm(after.mean(0))
    assert centres(stream)[0] @ towards > 0.9


def test_stream_with_steps_1_over_n_is_the_mean() -> None:
    """learning_decay=1 and offset 1: batches of equal weight count equally, as in one fit."""
    stream = VonMisesFisherMixture(1, learning_decay=1.0, learning_offset=1.0)
    for part in parts(X, 90):
        stream.partial_fit(part)
    whole = VonMisesFisherMixture(1).fit(X)
    np.testing.assert_allclose(stream.concentrations_, whole.concentrations_, rtol=1e-10)
    np.testing.assert_allclose(stream.locs_, whole.locs_, rtol=0, atol=1e-12)


@KINDS
def test_first_batch_must_hold_a_point_for_each_cluster(kind: Any) -> None:
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        kind(3).partial_fit(X[:2])


def test_stream_after_a_fit_goes_on_from_it() -> None:
    fit = VonMisesFisherMixture(3, random_state=0).fit(X)
    before: Array = fit.locs_.copy()
    fit.partial_fit(X)
    # Where EM has converged, the same points change little.
    np.testing.assert_allclose(fit.locs_, before, atol=1e-3)
    assert fit.n_steps_ == 2

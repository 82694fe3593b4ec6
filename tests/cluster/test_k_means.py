"""Spherical k-means: distances never rise, empty clusters move, and a plain program agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from flowkernels.cluster import SphericalKMeans
from flowkernels.cluster._estimator import ConvergenceWarning
from flowkernels.cluster._start import plus_plus

from .problems import Array, mixture_data, unit


def plain(x: Array, centres: Array, updates: int) -> tuple[Array, Array, float]:
    for _ in range(updates):
        labels = (x @ centres.T).argmax(1)
        centres = unit(np.stack([x[labels == k].sum(0) for k in range(len(centres))]))
    cosines = x @ centres.T
    return centres, cosines.argmax(1), float((1 - cosines.max(1)).sum())


@pytest.mark.parametrize("p", [2, 10, 300])
def test_fit_is_that_of_a_plain_program(p: int) -> None:
    x, _, _ = mixture_data(400, p, 4, 10.0 * p, seed=p)
    km = SphericalKMeans(4, init=x[:4], max_iter=3, tol=0).fit(x)
    centres, labels, inertia = plain(x, x[:4], km.n_iter_)
    np.testing.assert_allclose(km.cluster_centers_, centres, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(km.labels_, labels)
    assert km.inertia_ == pytest.approx(inertia, rel=1e-9)
    assert km.score(x) == pytest.approx(-inertia, rel=1e-9)
    np.testing.assert_allclose(km.transform(x), 1 - x @ centres.T, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(km.predict(x), labels)


@pytest.mark.parametrize("seed", range(10))
def test_distances_never_rise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, int(rng.integers(2, 30))))
    weights = rng.exponential(size=200)
    before = np.inf
    km = SphericalKMeans(12, init="random", max_iter=1, tol=0, warm_start=True, random_state=seed)
    for _ in range(15):
        km.fit(x, sample_weight=weights)
        assert km.inertia_ <= before + 1e-12
        before = km.inertia_
    # Every centre is the direction of its points' sum, to the last update.
    sums = np.stack([(weights[:, None] * unit(x))[km.labels_ == k].sum(0) for k in range(12)])
    assert km.converged_ or km.n_iter_ == 1
    np.testing.assert_allclose(km.cluster_centers_, unit(sums), atol=0.2)


def test_empty_cluster_moves_to_the_farthest_point() -> None:
    x = unit(np.array([[1.0, 0.01, 0], [1, -0.01, 0], [1, 0, 0.02], [0.8, 0.6, 0]]))
    far = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    km = SphericalKMeans(2, init=far).fit(x)
    assert km.labels_.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(km.cluster_centers_[1], x[3], atol=1e-15)
    # A point of weight 0 is no point.
    km = SphericalKMeans(2, init=far).fit(x, sample_weight=[1, 1, 1, 0])
    assert km.labels_.tolist() in ([0, 0, 1, 0], [1, 1, 0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fewer_points_differ_than_there_are_clusters(dtype: Any) -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(2, 7)), 20, axis=0).astype(dtype)
    with pytest.warns(ConvergenceWarning, match="1 of 3 clusters have no points"):
        km = SphericalKMeans(3, random_state=0).fit(x)
    assert len(set(km.labels_)) == 2 and km.inertia_ < 1e-5 and km.converged_
    np.testing.assert_allclose(np.linalg.norm(km.cluster_centers_, axis=1), 1, rtol=1e-6)


def test_opposite_points_leave_the_centre_where_it_is() -> None:
    centre = np.array([[0.6, 0.8]])
    km = SphericalKMeans(1, init=centre).fit(np.array([[1.0, 0], [-1.0, 0]]))
    np.testing.assert_array_equal(km.cluster_centers_, centre)
    assert km.inertia_ == pytest.approx(2)


def test_plus_plus_draws_in_proportion_to_the_distance() -> None:
    """Two starts: the second point by 1 - cosine times weight; a single trial at K = 2 is none."""
    x = torch.tensor([[1.0, 0], [0, 1], [-1, 0]], dtype=torch.float64)
    weights = torch.tensor([1e-9, 2.0, 1.0])
    rng = np.random.default_rng(0)
    counts = np.zeros(3)
    for _ in range(2000):
        first = plus_plus(x, weights, 1, rng)
        counts += (x == first).all(1).numpy()
    np.testing.assert_allclose(counts / 2000, [0, 2 / 3, 1 / 3], atol=0.04)
    # All three points for K = 3, whatever is drawn; equal points are not drawn again.
    twice = torch.cat((x, x, x))
    for _ in range(50):
        chosen = plus_plus(twice, torch.ones(9), 3, rng)
        assert len({tuple(row) for row in chosen.tolist()}) == 3


def test_plus_plus_beats_random_starts() -> None:
    x, _, _ = mixture_data(2000, 20, 30, 200.0, seed=2)
    options: dict[str, Any] = {"n_clusters": 30, "max_iter": 50}
    inertia = {
        init: np.median(
            [
                SphericalKMeans(init=init, random_state=s, **options).fit(x).inertia_
                for s in range(5)
            ]
        )
        for init in ("k-means++", "random")
    }
    assert inertia["k-means++"] < inertia["random"]


def test_large_data_are_sampled_for_the_start() -> None:
    """Beyond 32768 points: every cluster is found all the same."""
    x, labels, _ = mixture_data(40000, 3, 3, 500.0, seed=3)
    km = SphericalKMeans(3, random_state=0).fit(x)
    assert len({(a, b) for a, b in zip(km.labels_.tolist(), labels.tolist(), strict=True)}) == 3

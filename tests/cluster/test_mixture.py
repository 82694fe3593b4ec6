"""EM: the likelihood never falls, equals a plain program's, and finds known mixtures."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture
from flowkernels.cluster._mixture import largest_concentration

from .problems import Array, log_densities, mixture_data, plain_em, unit

OPTIONS: list[dict[str, Any]] = [
    {},
    {"assignment": "hard"},
    {"concentration": "tied"},
    {"concentration": 12.5},
    {"concentration_prior": 3.0},
    {"concentration_prior": 3.0, "concentration": "tied", "assignment": "hard"},
    {"init": "random"},
]


def problem(seed: int) -> tuple[Array, Array | None, int]:
    """Points of any spread, some of them equal; weights; a number of components."""
    rng = np.random.default_rng(seed)
    n, p, k = int(rng.integers(20, 400)), int(rng.integers(2, 40)), int(rng.integers(1, 9))
    x = unit(
        rng.normal(size=(n, p))
        + rng.exponential(3) * rng.normal(size=(k, p))[rng.integers(0, k, n)]
    )
    x[: n // 10] = x[0]
    return x, rng.exponential(size=n) if seed % 2 else None, k


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_likelihood_never_falls(options: dict[str, Any], seed: int) -> None:
    x, weights, k = problem(seed)
    mixture = VonMisesFisherMixture(k, tol=0, max_iter=30, random_state=seed, **options)
    history = np.array(mixture.fit(x, sample_weight=weights).lower_bounds_)
    # At the bound on kappa a density is kappa times a rounded cosine.
    rounding = 1e-12 * (abs(history).max() + mixture.concentrations_.max() * 2e-4)
    assert (np.diff(history) >= -rounding).all()


@pytest.mark.parametrize("seed", range(12))
def test_likelihood_never_falls_in_single_precision(seed: int) -> None:
    x, weights, k = problem(seed)
    x32 = torch.from_numpy(x).float()
    mixture = VonMisesFisherMixture(k, tol=0, max_iter=30, random_state=seed).fit(
        x32, None, weights
    )
    history = np.array(mixture.lower_bounds_)
    eps = torch.finfo(torch.float32).eps
    scale = abs(history).max() + float(mixture.concentrations_.max())
    assert (np.diff(history) >= -4 * eps * scale).all()
    assert mixture.concentrations_.dtype == torch.float32


@pytest.mark.parametrize(("p", "kappa"), [(3, 8.0), (20, 30.0), (400, 500.0)])
def test_fit_is_that_of_a_plain_program(p: int, kappa: float) -> None:
    x, _, _ = mixture_data(300, p, 3, kappa, seed=p)
    start = unit(x[[0, 100, 200]])
    mixture = VonMisesFisherMixture(3, init=start, tol=0, max_iter=1).fit(x)
    weights, locs, kappas = mixture.weights_, mixture.locs_, mixture.concentrations_
    history, weights, locs, kappas = plain_em(x, weights, locs, kappas, updates=4)
    mixture.set_params(warm_start=True, max_iter=4, tol=0.0).fit(x)
    ours = mixture.lower_bounds_
    n = len(ours)  # it may stand still before
    scale = max(abs(each) for each in history)
    np.testing.assert_allclose(ours, history[:n], rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(mixture.concentrations_, kappas, rtol=1e-6)
    np.testing.assert_allclose(mixture.locs_, locs, rtol=0, atol=1e-7)
    z = log_densities(x, mixture.weights_, mixture.locs_, mixture.concentrations_)
    np.testing.assert_allclose(mixture.score_samples(x), logsumexp(z, 1), rtol=0, atol=1e-9 * scale)
    posterior = np.exp(z - logsumexp(z, 1, keepdims=True))
    np.testing.assert_allclose(mixture.predict_proba(x), posterior, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(mixture.predict(x), posterior.argmax(1))
    assert mixture.score(x) == pytest.approx(mixture.lower_bound_, rel=1e-12)


@pytest.mark.parametrize(
    ("p", "kappa", "dtype"), [(8, 30.0, "float64"), (50, 60.0, "float32"), (1000, 700.0, "float32")]
)
def test_known_mixtures_are_found(p: int, kappa: float, dtype: str) -> None:
    metrics = pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn is not installed (extra `cluster`)"
    )
    x, labels, locs = mixture_data(3000, p, 4, kappa, seed=1)
    x = x.astype(dtype)
    mixture = VonMisesFisherMixture(4, random_state=0).fit(x)
    # Bayes' own assignments, with the true components.
    best = (x @ locs.T).argmax(1)
    ceiling = metrics.adjusted_rand_score(labels, best)
    assert metrics.adjusted_rand_score(labels, mixture.predict(x)) > ceiling - 0.01
    assert ceiling > 0.9
    near = (mixture.locs_ @ locs.T).argmax(1)
    assert sorted(near) == [0, 1, 2, 3]
    # Of about 750 points each: the error of kappa, less for large p, is below 2/sqrt(750 p) or so.
    np.testing.assert_allclose(mixture.concentrations_, kappa, rtol=0.2)
    np.testing.assert_allclose(mixture.weights_, 0.25, atol=0.04)


def test_ten_thousand_dimensions() -> None:
    """Where I_v(kappa) leaves the range of float64."""
    x, labels, _ = mixture_data(60, 10_000, 2, 12_000.0, seed=2)
    mixture = VonMisesFisherMixture(2, random_state=0).fit(x)
    z = log_densities(x, mixture.weights_, mixture.locs_, mixture.concentrations_)
    np.testing.assert_allclose(mixture.score_samples(x), logsumexp(z, 1), rtol=1e-9)
    assert len(set(zip(mixture.predict(x).tolist(), labels.tolist(), strict=True))) == 2
    single = VonMisesFisherMixture(2, random_state=0).fit(x.astype(np.float32))
    np.testing.assert_allclose(single.concentrations_, mixture.concentrations_, rtol=1e-4)


def test_bic_finds_the_number_of_components() -> None:
    x, _, _ = mixture_data(1500, 6, 3, 25.0, seed=3)
    fits = {k: VonMisesFisherMixture(k, n_init=3, random_state=0).fit(x) for k in range(1, 6)}
    assert min(fits, key=lambda k: fits[k].bic(x)) == 3
    n, m = len(x), 2 + 3 * 5 + 3
    assert fits[3].bic(x) == pytest.approx(-2 * n * fits[3].score(x) + m * np.log(n))
    assert fits[3].aic(x) == pytest.approx(-2 * n * fits[3].score(x) + 2 * m)
    tied = VonMisesFisherMixture(3, concentration="tied", random_state=0).fit(x)
    fixed = VonMisesFisherMixture(3, concentration=25, random_state=0).fit(x)
    for fit, fewer in ((tied, 2), (fixed, 3)):
        assert fit.aic(x) == pytest.approx(-2 * n * fit.score(x) + 2 * (m - fewer))
    assert len(set(tied.concentrations_)) == 1 and set(fixed.concentrations_) == {25.0}


def test_weights_are_repeated_points() -> None:
    x, _, _ = mixture_data(200, 5, 3, 10.0, seed=4)
    times = np.random.default_rng(0).integers(0, 4, len(x))
    options: dict[str, Any] = {"init": x[:3], "tol": 0, "max_iter": 15}
    repeated = VonMisesFisherMixture(3, **options).fit(np.repeat(x, times, axis=0))
    weighted = VonMisesFisherMixture(3, **options).fit(x, sample_weight=times)
    np.testing.assert_allclose(weighted.locs_, repeated.locs_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weighted.concentrations_, repeated.concentrations_, rtol=1e-8)
    assert weighted.score(x, sample_weight=times) == pytest.approx(repeated.lower_bound_, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [2, 3, 300])
def test_identical_points_have_the_largest_concentration(p: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(1, p, dtype=dtype), dim=1).expand(50, p)
    mixture = VonMisesFisherMixture(2, random_state=0).fit(x)
    largest = largest_concentration(p, dtype)
    assert largest == pytest.approx((p - 1) / (32 * torch.finfo(dtype).eps), rel=1e-3)
    assert float(mixture.concentrations_.max()) == pytest.approx(largest, rel=1e-6)
    assert np.isfinite(mixture.lower_bound_) and mixture.converged_
    regular = VonMisesFisherMixture(1, concentration_prior=1.0).fit(x)
    # r = 50 / 51
    assert float(regular.concentrations_[0]) < 60 * p
    one = VonMisesFisherMixture(1).fit(x[:1])
    assert float(one.concentrations_[0]) == pytest.approx(largest, rel=1e-6)


def test_component_without_points_keeps_its_place_at_weight_0() -> None:
    x = unit(np.random.default_rng(0).normal(size=(100, 3)) + 9 * np.eye(3)[0])
    far = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    mixture = VonMisesFisherMixture(2, init=far, random_state=0).fit(x)
    assert mixture.weights_.tolist() == [1, 0]
    np.testing.assert_array_equal(mixture.locs_[1], far[1])
    assert np.isfinite(mixture.lower_bound_) and np.isfinite(mixture.predict_proba(x)).all()
    draws, labels = mixture.sample(10)
    assert not labels.any() and np.isfinite(draws).all()


def test_opposite_points_are_uniform() -> None:
    mixture = VonMisesFisherMixture(1).fit(np.array([[1.0, 0, 0], [-1.0, 0, 0]]))
    assert mixture.concentrations_.tolist() == [0]
    assert mixture.lower_bound_ == pytest.approx(-np.log(4 * np.pi))


def test_more_components_than_points() -> None:
    x = np.eye(3)
    for estimator in (VonMisesFisherMixture(4), SphericalKMeans(4)):
        with pytest.raises(ValueError, match=r"n_samples=3 should be >= n_clusters=4"):
            estimator.fit(x)
        with pytest.raises(ValueError, match=r"n_samples=2 should be >= n_clusters=4"):
            estimator.fit(x, sample_weight=[1, 0, 1])


def test_prior_is_points_without_direction() -> None:
    """Pairs of opposite points add to counts, not to sums."""
    x, _, _ = mixture_data(100, 4, 1, 5.0, seed=5)
    pairs = np.concatenate((x, np.eye(4), -np.eye(4)))
    with_pairs = VonMisesFisherMixture(1).fit(pairs)
    prior = VonMisesFisherMixture(1, concentration_prior=8.0).fit(x)
    np.testing.assert_allclose(prior.concentrations_, with_pairs.concentrations_, rtol=1e-12)
    assert prior.lower_bound_ < prior.score(x)  # of the prior


def test_samples_have_the_means_of_the_mixture() -> None:
    x, _, _ = mixture_data(2000, 5, 2, 20.0, seed=6)
    mixture = VonMisesFisherMixture(2, random_state=7).fit(x)
    draws, labels = mixture.sample(4000)
    assert draws.shape == (4000, 5) and labels.shape == (4000,) and (np.diff(labels) >= 0).all()
    again, _ = mixture.sample(4000)
    np.testing.assert_array_equal(draws, again)
    refit = VonMisesFisherMixture(2, init=mixture.locs_).fit(draws)
    np.testing.assert_allclose(refit.concentrations_, mixture.concentrations_, rtol=0.1)
    np.testing.assert_allclose(refit.weights_, mixture.weights_, atol=0.04)
    assert ((refit.locs_ * mixture.locs_).sum(1) > 0.999).all()


def test_better_of_several_starts() -> None:
    x, _, _ = mixture_data(400, 3, 6, 20.0, seed=8)
    options: dict[str, Any] = {"init": "random", "max_iter": 20}
    rng = np.random.RandomState(0)
    scores = [
        VonMisesFisherMixture(6, random_state=rng, **options).fit(x).lower_bound_ for _ in range(6)
    ]
    several = VonMisesFisherMixture(6, n_init=8, random_state=0, **options).fit(x)
    assert several.lower_bound_ >= np.median(scores)


def test_warm_start_goes_on() -> None:
    x, _, _ = mixture_data(500, 3, 5, 6.0, seed=9)
    whole = VonMisesFisherMixture(5, init=x[:5], tol=0, max_iter=8).fit(x)
    parts = VonMisesFisherMixture(5, init=x[:5], tol=0, max_iter=4, warm_start=True)
    parts.fit(x).fit(x)
    np.testing.assert_allclose(parts.locs_, whole.locs_, atol=1e-9)
    bounds = itertools.pairwise(parts.lower_bounds_)
    assert all(b >= a - 1e-12 for a, b in bounds)

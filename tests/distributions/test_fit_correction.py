"""Corrections of the concentration for few samples: their equations, bias, and effective number."""

from __future__ import annotations

import math

import pytest
import torch
from mpmath import mp, mpf
from torch.testing import assert_close

from flowkernels.distributions import VonMisesFisher

from .cases import direction, within

CORRECTIONS = ("marginal", "resultant")


def ratio(dim: int, kappa: mpf) -> mpf:
    return mp.besseli(mpf(dim) / 2, kappa) / mp.besseli(mpf(dim) / 2 - 1, kappa)


@pytest.mark.parametrize(
    ("dim", "n", "kappa"),
    [(2, 5, 3.0), (3, 10, 0.8), (3, 200, 60.0), (40, 8, 30.0), (785, 30, 1e3)],
)
def test_solves_its_equation(dim: int, n: int, kappa: float) -> None:
    x = VonMisesFisher(direction(dim), kappa).sample((n,))
    r = x.mean(0).norm().item()
    with mp.workdps(30):
        fitted = mpf(VonMisesFisher.fit(x, correction="marginal").concentration.item())
        if n * r * r <= 1:
            assert fitted == 0
        else:
            excess = ratio(dim, fitted) - r * ratio(dim, n * r * fitted)
            slope = mp.diff(lambda k: ratio(dim, k) - r * ratio(dim, n * r * k), fitted)
            assert abs(excess / slope) <= 1e-12 * fitted
            # it is the larger root: the derivative of the likelihood falls through 0
            assert slope > 0
        simple = mpf(VonMisesFisher.fit(x, correction="resultant").concentration.item())
        want = (n * r * r - 1) / (n - 1)
        assert abs(ratio(dim, simple) ** 2 - want) <= 1e-13 if want > 0 else simple == 0


@pytest.mark.parametrize(("dim", "n", "kappa"), [(4, 8, 3.0), (100, 20, 60.0), (1000, 40, 300.0)])
def test_smaller_bias_and_error(dim: int, n: int, kappa: float) -> None:
    x = VonMisesFisher(direction(dim), kappa).sample((n, 400))
    plain = VonMisesFisher.fit(x).concentration - kappa
    for correction in CORRECTIONS:
        error = VonMisesFisher.fit(x, correction=correction).concentration - kappa
        assert error.mean().abs() < plain.mean().abs() / 3
        assert error.square().mean() < plain.square().mean()


def test_the_squared_mean_cosine_is_unbiased() -> None:
    """Of weighted samples too, without the bound at 0."""
    dim, kappa = 50, 60.0
    truth = VonMisesFisher(direction(dim), kappa)
    x = truth.sample((30, 500))
    weights = torch.linspace(0.1, 1, 30, dtype=torch.float64)
    fitted = VonMisesFisher.fit(x, weights, correction="resultant")
    assert (fitted.concentration > 0).all()
    assert within(fitted.mean.square().sum(-1), truth.mean.square().sum())


def test_uniform_points_have_no_concentration() -> None:
    """About half of the fits are 0; maximum likelihood gives about p / sqrt(n)."""
    x = VonMisesFisher(direction(1000), 0.0).sample((50, 100))
    plain = VonMisesFisher.fit(x).concentration
    assert ((plain - 1000 / math.sqrt(50)).abs() < 20).all()
    for correction in CORRECTIONS:
        none = VonMisesFisher.fit(x, correction=correction).concentration == 0
        assert 25 < none.sum() < 75


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_effective_number_of_weighted_samples(correction: str) -> None:
    x = VonMisesFisher(direction(6), 5.0).sample((20,))
    equal = VonMisesFisher.fit(x, torch.full((20,), 0.3), correction=correction)
    assert_close(equal.concentration, VonMisesFisher.fit(x, correction=correction).concentration)
    # a weight of 0 is no sample; scale does not matter
    weights = torch.tensor([2.0] * 12 + [0.0] * 8)
    some = VonMisesFisher.fit(x, weights, correction=correction)
    assert_close(
        some.concentration, VonMisesFisher.fit(x[:12], correction=correction).concentration
    )


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_concentrated_float32_samples(correction: str) -> None:
    x = VonMisesFisher(direction(3), 1e6).sample((10,))
    wide = VonMisesFisher.fit(x, correction=correction).concentration
    narrow = VonMisesFisher.fit(x.float(), correction=correction).concentration
    assert narrow.dtype == torch.float32
    assert abs(narrow.item() / wide.item() - 1) < 1e-3
    # in a tangent plane both are the unbiased variance: (n - 1) / n of maximum likelihood
    assert_close(wide / VonMisesFisher.fit(x).concentration, wide * 0 + 0.9, rtol=1e-3, atol=0)


def test_many_samples_need_no_correction() -> None:
    x = VonMisesFisher(direction(3), 4.0).sample((20_000,))
    plain = VonMisesFisher.fit(x).concentration
    for correction in CORRECTIONS:
        other = VonMisesFisher.fit(x, correction=correction).concentration
        assert_close(other, plain, rtol=2e-4, atol=0)


def test_errors() -> None:
    x = direction(6, 3)
    with pytest.raises(
        ValueError, match=r"VonMisesFisher.fit: correction must be .*marginal, .*got 'schou'"
    ):
        VonMisesFisher.fit(x, correction="schou")
    assert VonMisesFisher.fit(x, correction="none").concentration == (
        VonMisesFisher.fit(x).concentration
    )

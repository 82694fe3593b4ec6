"""Coverage of credible sets: exact for the known density, too small for an overconfident one."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from flowkernels.bijections import Compose, Standardize
from flowkernels.experiments.evaluation import calibrate, coverage, save_calibration
from flowkernels.experiments.evaluation.calibration import binomial_band
from flowkernels.experiments.evaluation.rows import (
    LinearGaussian,
    log_likelihoods,
    mean_score,
    reference_points,
)
from flowkernels.flows import Flow
from tests.experiments.tabular import EXPECTED, SCALE, SHIFT, WEIGHT, draw, exact_flow

stats = pytest.importorskip("scipy.stats")
ROWS, SAMPLES = 1500, 199


def covered(flow, **options):
    train, x = draw(1000), draw(ROWS, seed=1)
    points = reference_points(LinearGaussian(*train), *train, ROWS, x[1])
    return calibrate(flow, *x, points, unit=SCALE, samples=SAMPLES, **options)


def test_the_true_density_is_calibrated():
    ranks = covered(exact_flow())
    for each in (ranks.density, ranks.distance):
        found = coverage(each, SAMPLES)
        assert found.p_value > 0.01
        low, high = binomial_band(found.nominal, ROWS, 0.9999)
        assert bool(((low <= found.empirical) & (found.empirical <= high)).all())


@pytest.mark.parametrize("narrowed", [0.5, 0.8, 1.3])
def test_a_wrong_width_has_the_coverage_that_it_must_have(narrowed):
    """Of two dimensions, alpha of the model's mass is inside |z|^2 <= -2 log(1 - alpha)."""
    found = coverage(covered(exact_flow(narrowed=narrowed)).density, SAMPLES)
    assert found.p_value < 1e-3
    for level in (0.25, 0.5, 0.9):
        share, error = found.at(level)
        expected = 1 - (1 - level) ** (narrowed**2)
        # The samples, too, vary: their quantile has this error, besides that of the rows.
        slope = narrowed**2 * (1 - level) ** (narrowed**2 - 1)
        both = math.hypot(error, slope * math.sqrt(level * (1 - level) / SAMPLES / ROWS))
        assert abs(share - expected) < 4 * both + 1 / SAMPLES
        assert (share < level) == (narrowed < 1)


def test_an_overconfident_density_fails_both_checks():
    ranks = covered(exact_flow(narrowed=0.6))
    for each in (ranks.density, ranks.distance):
        assert coverage(each, SAMPLES).p_value < 1e-6


def test_tarp_finds_a_density_that_ignores_its_context():
    """Sets of highest density do not: they hold as much of x as they should, on average."""

    class Marginal(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def __init__(self):
            super().__init__()
            covariance = 4 * WEIGHT @ WEIGHT.T + SCALE.square().diag()
            mean = 5 * WEIGHT.sum(1) + SHIFT
            self.law = torch.distributions.MultivariateNormal(mean, covariance)

        def log_prob(self, x, context):
            return self.law.log_prob(x)

        def sample_and_log_prob(self, count, context):
            x = self.law.sample((len(context), count))
            return x, self.law.log_prob(x)

    ranks = covered(Marginal())
    assert coverage(ranks.density, SAMPLES).p_value > 0.01
    assert coverage(ranks.distance, SAMPLES).p_value < 1e-6


def test_without_a_context():
    for scale, calibrated in ((1.0, True), (0.7, False)):
        base = exact_flow().base
        flow = Flow(Compose([Standardize(torch.zeros(2), torch.full((2,), scale))]), base).eval()
        x = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(3))
        ranks = calibrate(flow, x, None, x.roll(1, 0))
        for each in (ranks.density, ranks.distance):
            assert (coverage(each, ranks.samples).p_value > 0.01) == calibrated


def test_ranks_repeat_and_leave_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = covered(exact_flow()), covered(exact_flow())
    assert torch.equal(first.density, second.density)
    assert torch.equal(first.distance, second.distance)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(covered(exact_flow(), seed=1).density, first.density)


def test_equal_values_are_placed_at_random():
    """A uniform density: every sample is as likely as every row."""

    class Uniform(torch.nn.Module):
        context_features, device, dtype = 0, torch.device("cpu"), torch.float32

        def log_prob(self, x):
            return torch.zeros(x.shape[:-1])

        def sample_and_log_prob(self, shape):
            return torch.rand(*shape, 2), torch.zeros(shape)

    x = torch.rand(ROWS, 2, generator=torch.Generator().manual_seed(4))
    ranks = calibrate(Uniform(), x, None, x.roll(1, 0))
    assert coverage(ranks.density, ranks.samples).p_value > 0.001


def test_p_values_are_kolmogorovs():
    ranks = torch.from_numpy(np.random.default_rng(0).integers(0, 1000, 400))
    found = coverage(ranks, 999)
    uniform = (ranks.double() + 0.5) / 1000
    other = stats.kstest(uniform.numpy(), "uniform", mode="asymp")
    assert found.distance == pytest.approx(other.statistic, abs=2e-3)
    assert found.p_value == pytest.approx(stats.kstwobign.sf(20 * found.distance), abs=1e-9)
    for wrong in (torch.tensor([]), torch.tensor([-1]), torch.tensor([1000])):
        with pytest.raises(ValueError, match="ranks: expected numbers"):
            coverage(wrong.long(), 999)


@pytest.mark.parametrize("count", [1, 7, 400])
def test_the_band_is_the_binomials(count):
    shares = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.95, 1.0], dtype=torch.float64)
    low, high = binomial_band(shares, count)
    assert np.array_equal(low.numpy() * count, np.maximum(0, stats.binom.ppf(0.025, count, shares)))
    assert np.allclose(high.numpy() * count, stats.binom.ppf(0.975, count, shares))


def test_the_gaussian_is_the_known_one():
    x, context = draw(20_000)
    held_x, held_context = draw(2000, seed=2)
    exact = torch.distributions.Normal(held_context @ WEIGHT.T + SHIFT, SCALE)
    truth = exact.log_prob(held_x).sum(-1)
    inputs = torch.cat([context, torch.ones(len(x), 1)], 1).double().numpy()
    weight, *_ = np.linalg.lstsq(inputs, x.double().numpy(), rcond=None)
    residuals = x.double().numpy() - inputs @ weight
    covariance = residuals.T @ residuals / len(x)
    held = np.c_[held_context.double().numpy(), np.ones(len(held_x))] @ weight
    wanted = stats.multivariate_normal(cov=covariance).logpdf(held_x.double().numpy() - held)
    fitted = LinearGaussian(x, context)
    assert np.allclose(fitted.log_prob(held_x, held_context), wanted, rtol=0, atol=1e-9)
    assert np.allclose(fitted.mean(2000, held_context), held, rtol=1e-10)
    assert abs(fitted.log_prob(held_x, held_context) - truth).mean() < 0.02
    of_flow = log_likelihoods(exact_flow(), held_x, held_context)
    assert torch.allclose(of_flow, truth.double(), atol=1e-4)
    score = mean_score(of_flow)
    assert abs(score["mean"] - EXPECTED) < 4 * score["standard_error"]
    x = torch.cat([x, x[:, :1] - x[:, 1:]], 1)
    with pytest.raises(ValueError, match="none is a linear function of others"):
        LinearGaussian(x).log_prob(x)


def test_the_picture(tmp_path):
    found = coverage(torch.arange(100), 99)
    path = save_calibration({"density": found, "TARP": found}, tmp_path / "made" / "it.png")
    with Image.open(path) as picture:
        assert picture.size == (600, 600)

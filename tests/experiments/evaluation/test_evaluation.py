"""Scores, baselines and pictures."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from flowkernels.experiments.data import load_dataset
from flowkernels.experiments.evaluation import (
    BitsPerDim,
    DiagonalGaussian,
    compare,
    fixed_noise,
    importance_weighted,
    round_trip_error,
    save_curve,
    save_grid,
    score,
    start_flow,
)
from flowkernels.experiments.evaluation.pictures import grid
from flowkernels.flows import glow


def small_flow():
    with fixed_noise(0):
        return glow((1, 8, 8), levels=2, steps=1, hidden=4, base="vmf")


def test_mean_and_standard_error_match_numpy():
    bits = torch.randn(1000, generator=torch.Generator().manual_seed(0)) + 3
    metric = BitsPerDim()
    for part in bits.split([1, 499, 500]):
        metric.update(part)
    result = {name: float(value) for name, value in metric.compute().items()}
    values = bits.double().numpy()
    assert result["bpd"] == pytest.approx(values.mean(), rel=1e-12)
    assert result["standard_error"] == pytest.approx(stats.sem(values), rel=1e-9)
    assert result["count"] == 1000


def test_metric_refuses_a_matrix():
    with pytest.raises(ValueError, match=r"scores: expected shape \(B,\), got \(2, 3\)"):
        BitsPerDim().update(torch.zeros(2, 3))


def test_scores_repeat_and_restore_the_random_state():
    flow = start_flow(small_flow(), load_dataset("digits").train[:64])
    test = load_dataset("digits").test[:100]
    before = torch.get_rng_state()
    first = score(flow.bits_per_dim, [test])
    assert torch.equal(before, torch.get_rng_state())
    assert score(flow.bits_per_dim, [test]) == first
    assert score(flow.bits_per_dim, [test], seed=1) != first
    with pytest.raises(ValueError, match="batches: expected at least one image"):
        score(flow.bits_per_dim, [])


def test_gaussian_matches_scipy():
    images = load_dataset("digits").train
    gaussian = DiagonalGaussian.fit(images)
    levels = images.double().numpy()
    np.testing.assert_allclose(gaussian.loc, levels.mean(0) + 0.5)
    np.testing.assert_allclose(gaussian.scale.square(), levels.var(0) + 1 / 12)
    with fixed_noise(4):
        bits = gaussian.bits_per_dim(images[:5])
    with fixed_noise(4):
        noisy = images[:5].double() + torch.rand(5, 1, 8, 8, dtype=torch.float64)
    log_prob = stats.norm.logpdf(noisy.numpy(), gaussian.loc, gaussian.scale)
    expected = -log_prob.reshape(5, -1).sum(1) / (64 * math.log(2))
    np.testing.assert_allclose(bits, expected, rtol=1e-10)


def test_logit_gaussian_is_a_density_on_the_levels():
    # One pixel: the density of level + noise integrates to one over [0, 256).
    values = torch.randint(256, (500, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    gaussian = DiagonalGaussian.fit(values.to(torch.uint8), alpha=0.05)
    points = (torch.arange(256 * 64, dtype=torch.float64) + 0.5) / 64
    latent = torch.logit(0.05 + 0.9 * points / 256)
    slope = 0.9 / 256 / ((0.05 + 0.9 * points / 256) * (0.95 - 0.9 * points / 256))
    loc, scale = float(gaussian.loc), float(gaussian.scale)
    density = torch.exp(-0.5 * ((latent - loc) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    inside = stats.norm(loc, scale).cdf(math.log(19)) - stats.norm(loc, scale).cdf(-math.log(19))
    assert float((density * slope).sum() / 64) == pytest.approx(inside, rel=1e-6)
    mean_bits = float(-(torch.log2(density * slope)).mean())
    with fixed_noise(0):
        levels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
        drawn = torch.stack([gaussian.bits_per_dim(levels).mean() for _ in range(50)]).mean()
    assert float(drawn) == pytest.approx(mean_bits, abs=5e-3)


def test_comparison_ranks_the_densities():
    digits = load_dataset("digits")
    untrained = start_flow(small_flow(), digits.train[:200])
    flow = start_flow(small_flow(), digits.train[:200])
    result = compare(flow, untrained, digits.train, digits.test)
    assert set(result) == {
        "flow",
        "untrained_flow",
        "diagonal_gaussian",
        "diagonal_gaussian_logit",
    }
    assert result["flow"] == result["untrained_flow"]
    assert all(0 < entry["standard_error"] < 1 for entry in result.values())
    assert all(entry["count"] == 360 for entry in result.values())


def test_starting_a_flow_normalises_its_first_batch():
    images = load_dataset("digits").train[:300]
    fresh = small_flow().eval()
    started = start_flow(small_flow(), images)
    with torch.no_grad():
        before, after = (flow.bits_per_dim(images).mean() for flow in (fresh, started))
    assert after < before


def test_round_trip_is_small_and_detects_a_wrong_inverse(monkeypatch):
    flow = start_flow(small_flow(), load_dataset("digits").train[:64])
    test = load_dataset("digits").test[:32]
    assert round_trip_error(flow, test) < 1e-5
    inverse = flow.bijection.inverse
    monkeypatch.setattr(
        flow.bijection, "inverse", lambda z: (inverse(z)[0] + 3e-3, None), raising=True
    )
    assert round_trip_error(flow, test) == pytest.approx(3e-3, rel=1e-2)


def test_round_trip_needs_levels():
    flow = glow((1, 8, 8), levels=1, steps=1, hidden=4, base="normal", dequantize=False)
    with pytest.raises(ValueError, match="expected one that dequantises"):
        round_trip_error(flow, torch.zeros(1, 1, 8, 8))


def test_grid_places_every_image(tmp_path):
    from PIL import Image

    images = torch.arange(6.0).view(2, 3, 1, 1, 1).expand(2, 3, 3, 4, 5) * 40
    picture = grid(images, scale=2, gap=3)
    assert picture.shape == (3 + 2 * 11, 3 + 3 * 13, 3)
    for row in range(2):
        for column in range(3):
            cell = picture[3 + 11 * row :, 3 + 13 * column :][:8, :10]
            assert cell.unique().tolist() == [40 * (3 * row + column)]
    assert int(picture[:3].min()) == 255
    path = save_grid(images, tmp_path / "new" / "grid.png", scale=2)
    with Image.open(path) as image:
        assert image.size == (2 + 3 * 12, 2 + 2 * 10)


@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (1, 1, 2, 4, 4)])
def test_grid_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="images: expected shape"):
        grid(torch.zeros(shape))


def test_curve_is_drawn(tmp_path):
    from PIL import Image

    history = {"train_bpd": [(1, 9.0), (2, 5.0)], "val_bpd": [(2, 5.5)]}
    path = save_curve(history, tmp_path / "loss.png", references={"Gaussian": 7.0})
    with Image.open(path) as image:
        assert image.size[0] > 500


def test_importance_weighted_bound_becomes_exact():
    # One pixel whose density on [0, 2), given the level k, is proportional to exp(3 (k + u)):
    # P(0) is the integral over [0, 1).
    normaliser = (math.exp(6) - 1) / 3
    exact = math.log((math.exp(3) - 1) / 3 / normaliser)

    def bits_per_dim(images):
        u = torch.rand(len(images), dtype=torch.float64)
        return (math.log(normaliser) - 3 * u) / math.log(2)

    images = torch.zeros(2000, 1, 1, 1)
    bounds = {}
    with fixed_noise(0):
        for draws in (1, 4, 500):
            found = -math.log(2) * importance_weighted(bits_per_dim, draws)(images)
            bounds[draws] = float(found.mean())
    # E of one draw: 3 / 2 - log normaliser; its deviation over images is 3 / sqrt(12).
    assert bounds[1] == pytest.approx(1.5 - math.log(normaliser), abs=4 * 0.87 / 2000**0.5)
    assert bounds[1] + 0.1 < bounds[4] < exact
    assert bounds[500] == pytest.approx(exact, abs=0.005)


def test_importance_weighted_bound_by_definition():
    bits = torch.tensor([[3.0, 4.0], [3.5, 2.0]], dtype=torch.float64)
    given = iter(bits)
    bound = importance_weighted(lambda images: next(given), 2)(torch.zeros(2, 1, 1, 2))
    # Two pixels: likelihoods 2^(-2 bits), their mean, and back.
    expected = -((2 ** (-2 * bits)).mean(0)).log2() / 2
    torch.testing.assert_close(bound, expected)

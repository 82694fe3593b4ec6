"""Targets: normalisers equal the integrals, and draws follow the densities."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from flowkernels.experiments.targets import (
    CircleOfGaussians,
    DoubleWell,
    ManyWell,
    Rings,
    TwoMoons,
    grid_2d,
    make_target,
    target_names,
)
from flowkernels.experiments.targets.base import rejection


@pytest.mark.parametrize("name", target_names())
def test_the_normaliser_is_the_integral(name):
    target = make_target(name)
    # a grid other than the targets' own, wider than their extent
    nodes, cell = grid_2d(1.3 * target.extent, 577)
    total = (target.log_prob(nodes) - target.log_normalizer).exp().sum() * cell
    assert abs(float(total) - 1) < 1e-8


@pytest.mark.parametrize("name", target_names())
def test_almost_all_mass_lies_within_the_extent(name):
    target = make_target(name)
    nodes, cell = grid_2d(1.3 * target.extent, 577)
    outside = (nodes.abs() > target.extent).any(-1)
    mass = (target.log_prob(nodes[outside]) - target.log_normalizer).exp().sum() * cell
    assert float(mass) < 1e-9


@pytest.mark.parametrize("name", target_names())
def test_draws_follow_the_density_in_every_bin(name):
    target = make_target(name)
    count, bins = 100_000, 40
    draws = target.sample(count, dtype=torch.float64)
    # midpoints, so that no node lies on an edge between two bins
    per_bin = 12
    axis = (torch.arange(bins * per_bin, dtype=torch.float64) + 0.5) / per_bin
    nodes = torch.cartesian_prod(axis, axis)
    x = nodes / bins * 2 * target.extent - target.extent
    where = nodes.long()
    mass = torch.zeros(bins**2, dtype=torch.float64)
    mass.index_add_(0, where[:, 0] * bins + where[:, 1], target.log_prob(x).softmax(0))
    index = ((draws + target.extent) / (2 * target.extent) * bins).long().clamp(0, bins - 1)
    found = torch.bincount(index[:, 0] * bins + index[:, 1], minlength=bins**2).double()
    often = mass * count > 20
    observed = torch.cat([found[often], found[~often].sum()[None]])
    expected = torch.cat([mass[often], mass[~often].sum()[None]]) * count
    chi2 = ((observed - expected).square() / expected).sum()
    assert stats.chi2.sf(float(chi2), len(observed) - 1) > 1e-4


def test_shapes_and_dtypes():
    for name in target_names():
        target = make_target(name)
        x = target.sample(12)
        assert x.shape == (12, 2)
        assert x.dtype == torch.float32
        assert target.log_prob(x.reshape(3, 4, 2)).shape == (3, 4)
        assert target.sample(0).shape == (0, 2)
        torch.manual_seed(5)
        first = target.sample(7)
        torch.manual_seed(5)
        assert torch.equal(target.sample(7), first)


def test_gradients_are_finite_near_zero_and_far_away():
    for name in target_names():
        x = torch.tensor([[1e-3, 0.0], [30.0, -30.0]], requires_grad=True)
        make_target(name).log_prob(x).sum().backward()
        assert x.grad.isfinite().all()


def test_many_wells_are_independent():
    many, one = ManyWell(3, tilt=0.2), DoubleWell(tilt=0.2)
    x = many.sample(5, dtype=torch.float64)
    assert x.shape == (5, 6)
    assert_close(many.log_prob(x), one.log_prob(x.reshape(5, 3, 2)).sum(-1))
    assert abs(many.log_normalizer - 3 * one.log_normalizer) < 1e-12
    right = many.sample(20_000).reshape(-1, 2)[:, 0] > 0
    weight = many.right_weight()
    assert abs(float(right.double().mean()) - weight) < 5 * math.sqrt(weight / right.numel())


def test_right_weight_is_the_integral():
    target = DoubleWell()
    nodes, cell = grid_2d(6.5, 2600)  # an even number: none at zero
    right = nodes[:, 0] > 0
    mass = (target.log_prob(nodes[right]) - target.log_normalizer).exp().sum() * cell
    assert abs(float(mass) - target.right_weight()) < 1e-6
    assert abs(DoubleWell(tilt=0.0).right_weight() - 0.5) < 1e-12


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: make_target("moon"), "target must be one of two_moons, .*, got 'moon'"),
        (lambda: TwoMoons().log_prob(torch.zeros(3)), r"two_moons: x must have shape .*\(3,\)"),
        (lambda: CircleOfGaussians(0), "modes must be at least 1, got 0"),
        (lambda: Rings(0), "rings must be at least 1, got 0"),
        (lambda: ManyWell(0), "wells must be at least 1, got 0"),
        (lambda: DoubleWell(tilt=math.inf), "tilt must be finite, got inf"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_a_proposal_that_is_never_accepted_is_an_error():
    with pytest.raises(RuntimeError, match="0 of 5 rows accepted in 3 blocks"):
        rejection(5, lambda n: (torch.zeros(n, 1), torch.zeros(n)), most_rounds=3)

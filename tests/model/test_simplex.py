"""Maps onto the simplex and the straight line on it."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import StickBreakingTransform
from torch.testing import assert_close

from flowkernels.bases import LogRatioDirichlet, StandardNormal, StickBreakingDirichlet
from flowkernels.bijections import AdditiveLogRatio, StickBreaking
from flowkernels.interpolation import simplex_linear

MAPS = [StickBreaking, AdditiveLogRatio]
each_map = pytest.mark.parametrize("make", MAPS)


def test_stick_breaking_matches_torch():
    z, torchs = torch.randn(4, 7, dtype=torch.float64), StickBreakingTransform()
    s, log_det = StickBreaking(7)(z)
    assert_close(s, torchs(z))
    assert_close(log_det, torchs.log_abs_det_jacobian(z, s))


def test_additive_log_ratio_is_softmax_with_a_zero():
    z = torch.randn(4, 7, dtype=torch.float64)
    expected = torch.nn.functional.pad(z, (0, 1)).softmax(-1)
    assert_close(AdditiveLogRatio(7)(z)[0], expected)


@each_map
def test_round_trip_log_det_and_derivatives(make):
    bijection = make(6)
    z = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    s, log_det = bijection(z)
    assert_close(s.sum(-1), torch.ones(5, dtype=torch.float64))
    back, log_det_back = bijection.inverse(s)
    assert_close(back, z)
    assert_close(log_det_back, -log_det)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: bijection(row)[0][:-1]))(z)
    assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det)
    assert torch.autograd.gradcheck(bijection.log_forward, z)
    log_s = bijection.log_forward(z)[0].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: bijection.log_inverse(x)[0], log_s)
    assert_close(bijection(torch.zeros(1, 6))[0], torch.full((1, 7), 1 / 7))


@each_map
@pytest.mark.parametrize("reach", [1.0, 30.0, 1e3])
def test_logarithms_are_accurate_in_single_precision(make, reach):
    bijection = make(3072)
    z = reach * torch.randn(4, 3072)
    log_s, log_det = bijection.log_forward(z)
    exact, exact_log_det = bijection.log_forward(z.double())
    assert log_s.dtype == log_det.dtype == torch.float32
    assert_close(log_s.double(), exact, rtol=1e-6, atol=1e-6 * reach)
    assert_close(log_det.double(), exact_log_det, rtol=1e-6, atol=0)
    assert_close(exact.logsumexp(-1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-9)
    back, log_det_back = bijection.log_inverse(exact)
    assert_close(back, z.double(), rtol=1e-9, atol=1e-9 * reach)
    assert_close(log_det_back, -exact_log_det, rtol=1e-9, atol=1e-9)
    assert log_s.min() < -87 * (reach > 1), "no coordinate is below float32's smallest number"


@each_map
def test_shapes_and_errors(make):
    bijection = make(3)
    assert bijection(torch.zeros(3))[0].shape == (4,)
    assert bijection(torch.zeros(0, 3))[1].shape == (0,)
    assert bijection(torch.zeros(2, 5, 3))[1].shape == (2, 5)
    half, log_det = bijection(torch.zeros(2, 3, dtype=torch.bfloat16))
    assert (half.dtype, log_det.dtype) == (torch.bfloat16, torch.float32)
    with pytest.raises(ValueError, match=r"z must have shape \(\.\.\., 3\), got \(2, 4\)"):
        bijection(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"s must have shape \(\.\.\., 4\), got \(2, 3\)"):
        bijection.inverse(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        make(0)


@each_map
def test_path_is_the_straight_line(make):
    bijection = make(6)
    a, b = 2 * torch.randn(2, 5, 6, dtype=torch.float64)
    t = torch.linspace(0, 1, 4, dtype=torch.float64)
    line = bijection(simplex_linear(bijection)(a, b, t))[0]
    s_a, s_b = bijection(a)[0][:, None], bijection(b)[0][:, None]
    assert_close(line, (1 - t)[:, None] * s_a + t[:, None] * s_b)


@pytest.mark.parametrize("make", [StickBreakingDirichlet, LogRatioDirichlet])
@pytest.mark.parametrize("c", [1e-2, 1.0])
def test_dirichlet_default_path(make, c):
    base = make(64, c)
    a, b = base.sample((2, 10))
    t = torch.linspace(0, 1, 5)
    path = base.path(a, b, t)
    assert path.shape == (10, 5, 64)
    assert path.isfinite().all()
    assert_close(path[:, 0], a, rtol=1e-4, atol=1e-4)
    assert_close(path[:, -1], b, rtol=1e-4, atol=1e-4)
    line = base.log_forward(path.double()).exp()
    middle = (base.log_forward(a.double()).exp() + base.log_forward(b.double()).exp()) / 2
    assert_close(line[:, 2], middle, rtol=1e-3, atol=1e-6)
    assert_close(base.path(a, b, 0.5, "linear"), (a + b) / 2)


def test_log_ratio_line_works_for_any_base():
    base = StandardNormal(5).double()
    a, b = base.sample((2, 3))
    middle = AdditiveLogRatio(5)(base.path(a, b, 0.5, "simplex_linear"))[0]
    assert_close(middle, (AdditiveLogRatio(5)(a)[0] + AdditiveLogRatio(5)(b)[0]) / 2)

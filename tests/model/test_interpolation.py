"""Latent paths: shapes, ends, lengths, distributions."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowkernels import interpolation, ops
from flowkernels.interpolation import get_path, path_names, register_path

NAMES = [
    "linear", "norm_corrected", "normalized_linear", "slerp", "cauchy_linear",
    "spherical_cauchy_linear", "simplex_linear",
]  # fmt: skip
# Factories of paths; their names refer to the Gaussian and to the log-ratio map.
MADE = ("cauchy_linear", "spherical_cauchy_linear", "simplex_linear")
every_path = pytest.mark.parametrize("name", NAMES)


def test_registry_has_all_paths():
    assert set(NAMES) <= set(path_names())
    for name in set(NAMES) - set(MADE):
        assert get_path(name) is getattr(interpolation, name)


@every_path
def test_shapes(name):
    a, b = torch.randn(2, 4, 3, 6, dtype=torch.float64)
    path, t = get_path(name), torch.linspace(0, 1, 5, dtype=torch.float64)
    whole = path(a, b, t)
    assert whole.shape == (4, 3, 5, 6)
    assert_close(path(a, b, t.expand(4, 3, 5)), whole)
    assert_close(path(a, b, 0.25), whole[..., 1, :])
    assert_close(path(a, b, torch.tensor(0.25)), whole[..., 1, :])
    assert_close(path(a[0, 0], b[0, 0], t), whole[0, 0])


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_path_starts_and_ends_at_the_points(name, dtype):
    a, b = torch.randn(2, 50, 20, dtype=dtype)
    ends = get_path(name)(a, b, torch.tensor([0.0, 1.0], dtype=dtype))
    assert ends.dtype == dtype
    tol = 100 * torch.finfo(dtype).eps
    assert_close(ends, torch.stack([a, b], dim=1), rtol=tol, atol=tol)


@every_path
def test_path_between_equal_points_is_constant_except_normalized_linear(name):
    a = torch.randn(5, 8, dtype=torch.float64)
    t = torch.tensor([0.5], dtype=torch.float64)
    factor = 2**0.5 if name == "normalized_linear" else 1.0
    assert_close(get_path(name)(a, a, t)[:, 0], factor * a)


@pytest.mark.parametrize("name", ["norm_corrected", "slerp"])
def test_length_is_linear(name):
    a, b = torch.randn(2, 30, 7, dtype=torch.float64) * 3
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    expected = (1 - t) * a.norm(dim=-1)[:, None] + t * b.norm(dim=-1)[:, None]
    assert_close(get_path(name)(a, b, t).norm(dim=-1), expected)


def test_slerp_on_the_sphere_is_the_op():
    a, b = torch.nn.functional.normalize(torch.randn(2, 10, 5, dtype=torch.float64), dim=-1)
    t = torch.linspace(0, 1, 4, dtype=torch.float64)
    assert_close(interpolation.slerp(a, b, t), ops.slerp(a, b, t))


def test_normalized_linear_preserves_the_gaussian():
    a, b = torch.randn(2, 20_000, 10, dtype=torch.float64)
    middle = interpolation.normalized_linear(a, b, 0.3)
    covariance = middle.T @ middle / len(middle)
    # five standard errors of a variance, sqrt(2 / n)
    assert (covariance - torch.eye(10)).abs().max() < 5 * (2 / 20_000) ** 0.5


# Excluded: the length 0 maps to infinity.
@pytest.mark.parametrize("name", [n for n in NAMES if n != "spherical_cauchy_linear"])
def test_gradients_are_finite_at_zero_and_at_equal_points(name):
    for a, b in [
        (torch.zeros(3), torch.ones(3)),
        (torch.ones(3), torch.ones(3)),
        (torch.ones(3), -torch.ones(3)),
    ]:
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        out = get_path(name)(a, b, torch.tensor([0.0, 0.5, 1.0]))
        out.sum().backward()
        assert out.isfinite().all()
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()


def test_register_path_adds_a_name(monkeypatch):
    monkeypatch.setattr(interpolation.paths, "_PATHS", dict(interpolation.paths._PATHS))

    @register_path("constant")
    def constant(a, b, t):
        return a

    assert get_path("constant") is constant
    assert "constant" in path_names()


def test_rejects_bad_input():
    a = torch.randn(3, 4)
    with pytest.raises(
        ValueError, match=r"path must be one of \['cauchy_linear'.*got 'great_circle'"
    ):
        get_path("great_circle")
    with pytest.raises(ValueError, match=r"same shape .*got \(3, 4\) and \(3, 5\)"):
        get_path("linear")(a, torch.randn(3, 5), 0.5)
    with pytest.raises(ValueError, match=r"\(\*batch, T\) with batch \(3,\), got shape \(2, 5\)"):
        get_path("linear")(a, a, torch.rand(2, 5))

"""Our transforms of torch.distributions: values, log-dets, what is computed once."""

from __future__ import annotations

import copy
import io
import math
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.distributions import (
    ComposeTransform,
    Independent,
    Normal,
    Transform,
    TransformedDistribution,
    Uniform,
)
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.adapters.torch_distributions import (
    AffineCouplingTransform,
    SplineCouplingTransform,
    SplineTransform,
    StereographicTransform,
)
from flowkernels.bijections import mlp_conditioner

from .transforms import every_transform, transform_of


@every_transform
@pytest.mark.parametrize("batch", [(), (3,), (2, 5), (0,), (0, 3)])
def test_round_trips(name: str, batch: tuple[int, ...]) -> None:
    t, event = transform_of(name)
    x = torch.randn(*batch, *event, dtype=torch.float64)
    y = t(x)
    assert y.shape == t.forward_shape(x.shape)
    assert t.inverse_shape(y.shape) == x.shape
    assert_close(t.inv(y), x, rtol=1e-9, atol=1e-9)
    log_det = t.log_abs_det_jacobian(x, y)
    assert log_det.shape == x.shape[: x.ndim - t.domain.event_dim]
    assert_close(t.inv.log_abs_det_jacobian(y, x), -log_det)
    assert bool(t.domain.check(x).all()) and bool(t.codomain.check(y).all())
    assert t.bijective


@every_transform
def test_log_det_is_that_of_the_jacobian(name: str) -> None:
    t, event = transform_of(name)
    x = torch.randn(event, dtype=torch.float64)
    size = math.prod(event)
    jacobian = torch.autograd.functional.jacobian(t, x).reshape(-1, size)
    # The factor by which volumes change; for a square Jacobian, |det|.
    want = 0.5 * torch.linalg.slogdet(jacobian.mT @ jacobian).logabsdet
    found = t.log_abs_det_jacobian(x, t(x))
    assert_close(found.sum(), want, rtol=1e-8, atol=1e-8)
    y = t(x).detach()
    assert_close(t.log_abs_det_jacobian(t.inv(y), y).sum(), want, rtol=1e-7, atol=1e-7)


@every_transform
def test_gradients(name: str) -> None:
    t, event = transform_of(name)
    x = torch.randn(2, *event, dtype=torch.float64, requires_grad=True)
    y = t(x).detach().requires_grad_()

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        y = t(x)
        return y, t.log_abs_det_jacobian(x, y)

    def inverse(y: Tensor) -> tuple[Tensor, Tensor]:
        x = t.inv(y)
        return x, t.log_abs_det_jacobian(x, y)

    assert gradcheck(forward, (x,))
    if name != "stereographic":  # its inverse is that of y / |y|: off the sphere another map
        assert gradcheck(inverse, (y,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    x = torch.randn(6, 4).to(dtype)
    at_least_float32 = torch.promote_types(dtype, torch.float32)
    for t in (
        AffineCouplingTransform(mlp_conditioner(2, 4, (8,)).to(dtype)),
        SplineTransform(torch.randn(4, 23).to(dtype), event_dim=1),
        StereographicTransform(),
    ):
        y = t(x)
        assert y.dtype == dtype
        assert t.log_abs_det_jacobian(x, y).dtype == at_least_float32


# What is computed once.


class Counted:
    """How often an op is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.calls = 0
        op = getattr(ops, name)

        def counting(*args: Any, **options: Any) -> Any:
            self.calls += 1
            return op(*args, **options)

        monkeypatch.setattr(ops, name, counting)


COUNTED: dict[str, tuple[Callable[[], Transform], tuple[str, ...]]] = {
    "affine": (
        lambda: AffineCouplingTransform(nn.Linear(2, 4)),
        ("affine_coupling_split",),
    ),
    "spline coupling": (
        lambda: SplineCouplingTransform(nn.Linear(2, 2 * 23)),
        ("rational_quadratic_spline_split",),
    ),
    "splines": (
        lambda: SplineTransform(torch.randn(4, 23, requires_grad=True), event_dim=1),
        ("rational_quadratic_spline",),
    ),
    "stereographic": (StereographicTransform, ("stereographic", "stereographic_inverse")),
}


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("cache_size", [0, 1])
def test_value_and_log_det_are_one_call(
    name: str, cache_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, names = COUNTED[name]
    t = make().with_cache(cache_size)
    counted = [Counted(monkeypatch, op) for op in names]

    def calls() -> int:
        return sum(each.calls for each in counted)

    x = torch.randn(3, 4)
    y = t(x)
    t.log_abs_det_jacobian(x, y)
    assert calls() == 1
    shape = t.forward_shape((4,))
    base = Independent(Normal(torch.zeros(4), torch.ones(4)), 1)
    density = TransformedDistribution(base, t)
    drawn = density.rsample((5,))
    assert drawn.shape == (5, *shape) and calls() == 2
    density.log_prob(drawn)  # of a sample: without an inverse if the pair is cached
    assert calls() == 3 - cache_size
    density.log_prob(drawn.detach())
    assert calls() == 4 - cache_size


def test_a_pair_without_a_graph_is_computed_again_where_gradients_are_wanted() -> None:
    t = AffineCouplingTransform(nn.Linear(2, 4))
    x = torch.randn(3, 4)
    with torch.no_grad():
        y = t(x)
    log_det = t.log_abs_det_jacobian(x, y)
    log_det.sum().backward()
    weight = t.bijection.conditioner.weight
    assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_of_another_pair_nothing_is_reused() -> None:
    t = AffineCouplingTransform(nn.Linear(2, 4))
    x, other = torch.randn(2, 3, 4)
    y = t(x)
    want = t.log_abs_det_jacobian(x, y)
    kept = t(other)
    assert_close(t.log_abs_det_jacobian(x, y), want)  # of neither pair that is remembered
    assert_close(t.log_abs_det_jacobian(x.clone(), y.clone()), want)
    assert not torch.allclose(t.log_abs_det_jacobian(other, kept), want)


def test_pairs_are_not_kept_alive() -> None:
    t = AffineCouplingTransform(nn.Linear(2, 4))
    with torch.no_grad():
        y = t(torch.randn(3, 4))
    alive = weakref.ref(y)
    del y
    assert alive() is None


def test_with_cache_shares_parameters() -> None:
    t = AffineCouplingTransform(nn.Linear(2, 4))
    cached = t.with_cache()
    assert cached is not t and cached.bijection is t.bijection and cached.with_cache(1) is cached
    assert cached.with_cache(0)._cache_size == 0
    x = torch.randn(3, 4)
    y = cached(x)
    assert cached(x) is y and cached.inv(y) is x
    assert t(x) is not y
    with pytest.raises(ValueError, match="cache_size must be 0 or 1, got 2"):
        t.with_cache(2)


@every_transform
def test_copies_and_pickles(name: str) -> None:
    t, event = transform_of(name)
    t = t.with_cache()
    x = torch.randn(3, *event, dtype=torch.float64)
    y = t(x)  # a copy takes no cached tensors with it
    file = io.BytesIO()
    torch.save(t, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for twin in (copy.deepcopy(t), copy.copy(t), pickle.loads(pickle.dumps(t)), loaded):
        assert torch.equal(twin(x), y)
        assert twin._computed is not None
        assert str(twin) == str(t)


# Of elements.


def test_stereographic_transforms_are_equal() -> None:
    assert StereographicTransform() == StereographicTransform()
    assert ComposeTransform([StereographicTransform()]) == ComposeTransform(
        [StereographicTransform()]
    )
    with pytest.raises(ValueError, match=r"shape must be \(\*batch, d\) with d >= 1, got \(\)"):
        StereographicTransform().forward_shape(())
    with pytest.raises(ValueError, match=r"\(\*batch, d \+ 1\) with d >= 1, got \(3, 1\)"):
        StereographicTransform().inverse_shape((3, 1))


def test_splines_are_monotonic_maps_of_elements() -> None:
    params = torch.randn(4, 23, dtype=torch.float64)
    t = SplineTransform(params)
    assert t.sign == 1 and t.event_dim == 0
    x = torch.randn(7, 4, dtype=torch.float64)
    y = t(x)
    want, log_det = ops.rational_quadratic_spline(x, params.reshape(1, -1).expand(7, -1))
    assert_close(y, want)
    assert_close(t.log_abs_det_jacobian(x, y).sum(-1), log_det)
    # A scalar, a column, one spline for all, a batch of splines.
    assert_close(SplineTransform(params[0])(x[0, 0]), want[0, 0])
    assert_close(SplineTransform(params[0])(x)[:, 0], want[:, 0])
    assert_close(SplineTransform(params)(x[:, :1].expand(7, 4)), SplineTransform(params)(x[:, :1]))
    assert SplineTransform(params.expand(2, 1, 4, 23))(x).shape == (2, 7, 4)
    skewed = TransformedDistribution(Uniform(-3.0, 3.0), t)
    p = torch.rand(6, 4, dtype=torch.float64)
    assert_close(skewed.cdf(skewed.icdf(p)), p)
    with pytest.raises(ValueError, match=r"params must have .*\*shape, 23\) .* got \(4, 22\)"):
        SplineTransform(params[:, :22])
    with pytest.raises(ValueError, match=r"shape must broadcast with .* \(4,\) .* got \(3,\)"):
        t(x[0, :3])
    with pytest.raises(ValueError, match=r"bins must be at least 1, got 0"):
        SplineTransform(params, bins=0)


@pytest.mark.parametrize("boundary", ["linear", "circular", "none"])
def test_boundaries_of_splines(boundary: Any) -> None:
    parameters = {"linear": 11, "circular": 12, "none": 13}[boundary]
    t = SplineTransform(torch.randn(4, parameters).double(), bins=4, boundary=boundary)
    x = 6 * torch.rand(50, 4, dtype=torch.float64) - 3
    y = t(x)
    assert_close(t.inv(y), x, rtol=1e-8, atol=1e-8)
    assert (y.sort(0).values == y.gather(0, x.argsort(0))).all()

"""Transforms of each kind, for the tests of transforms."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, Transform

from flowkernels.adapters.torch_distributions import (
    AffineCouplingTransform,
    SplineCouplingTransform,
    SplineTransform,
    StereographicTransform,
    as_transform,
)
from flowkernels.bijections import mlp_conditioner
from flowkernels.flows import Flow, maf, nsf, realnvp


def spread(module: nn.Module) -> nn.Module:
    """The module in float64 with weights that are not those of the start, where maps are lines."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double().eval()


def transform_of(name: str) -> tuple[Transform, tuple[int, ...]]:
    """A transform in float64 and the shape of an event of its domain."""
    if name == "affine coupling":
        return spread(AffineCouplingTransform(mlp_conditioner(2, 4, (8,)))), (4,)
    if name == "affine coupling, first":
        coupling = AffineCouplingTransform(
            mlp_conditioner(3, 4, (8,)), transform="first", scale_fn="softclip", bound=1.0
        )
        return spread(coupling), (5,)
    if name == "affine coupling of images":
        network = nn.Conv2d(2, 4, 3, padding=1)
        return spread(AffineCouplingTransform(network, event_dim=3)), (4, 2, 3)
    if name == "spline coupling":
        return spread(SplineCouplingTransform(mlp_conditioner(2, 2 * 11, (8,)), bins=4)), (4,)
    if name == "splines":
        return SplineTransform(torch.randn(4, 23).double()), (4,)
    if name == "splines, vectors":
        return SplineTransform(torch.randn(23).double(), event_dim=1), (4,)
    if name == "stereographic":
        return StereographicTransform(), (3,)
    if name == "to latent":
        return spread(as_transform(realnvp(4, layers=2, hidden=8), direction="to_latent")), (4,)
    if name == "to data":
        return spread(as_transform(maf(4, layers=2, hidden=8))), (4,)
    assert name == "context"
    flow = spread(nsf(4, layers=2, hidden=8, context=2))
    assert isinstance(flow, Flow)
    return as_transform(flow, context=torch.tensor([0.5, -1.0]).double()), (4,)


NAMES = [
    "affine coupling", "affine coupling, first", "affine coupling of images", "spline coupling",
    "splines", "splines, vectors", "stereographic", "to latent", "to data", "context",
]  # fmt: skip
every_transform = pytest.mark.parametrize("name", NAMES)
every_module = pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.startswith(("splines", "stereo"))]
)


def base(size: int, checked: bool = True) -> Independent:
    """A standard Gaussian, in float64."""
    zeros = torch.zeros(size, dtype=torch.float64)
    return Independent(Normal(zeros, 1.0, validate_args=checked), 1, validate_args=checked)

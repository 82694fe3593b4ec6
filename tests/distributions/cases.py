"""The distributions under test, and quadrature on the circle and the sphere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from flowkernels.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    SphericalCauchy,
    VonMisesFisher,
)

Make = Callable[..., Distribution]


def direction(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Unit vectors along the last dimension."""
    g = torch.Generator().manual_seed(seed + shape[-1])
    x = torch.randn(shape, dtype=torch.float64, generator=g)
    return (x / x.norm(dim=-1, keepdim=True)).to(dtype)


def rho_of(kappa: Tensor | float) -> Tensor | float:
    """A rho for each concentration, from 0 at 0 to 1 at infinity."""
    return kappa / (kappa + 60)


def _axial(cls: type[Distribution]) -> Make:
    def make(
        dim: int,
        batch: tuple[int, ...] = (),
        kappa: float = 3.0,
        dtype: torch.dtype = torch.float64,
        validate_args: bool | None = None,
    ) -> Distribution:
        spread = 1 + torch.arange(int(np.prod(batch)), dtype=dtype).reshape(batch) / 4
        number = rho_of(kappa * spread) if cls is SphericalCauchy else kappa * spread
        return cls(direction(*batch, dim, dtype=dtype), number, validate_args)

    return make


def parameter(d: Distribution) -> Tensor:
    """What an axial distribution has beside `loc`."""
    value: Tensor = getattr(d, d.parameter_name)
    return value


def _uniform(
    dim: int,
    batch: tuple[int, ...] = (),
    kappa: float = 0.0,
    dtype: torch.dtype = torch.float64,
    validate_args: bool | None = None,
) -> Distribution:
    return HypersphericalUniform(dim, batch, dtype=dtype, validate_args=validate_args)


AXIAL: dict[str, Make] = {
    "von_mises_fisher": _axial(VonMisesFisher),
    "power_spherical": _axial(PowerSpherical),
    "spherical_cauchy": _axial(SphericalCauchy),
}
EVERY: dict[str, Make] = {**AXIAL, "uniform": _uniform}
CLASSES = {"von_mises_fisher": VonMisesFisher, "power_spherical": PowerSpherical}

each_distribution = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
each_axial = pytest.mark.parametrize("make", AXIAL.values(), ids=AXIAL)
each_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def quadrature(loc: Tensor, points: int = 401) -> tuple[Tensor, Tensor]:
    """Nodes (n, dim) around `loc` and weights (n,) on the circle or the sphere.

    Tanh-sinh rule in the angle with loc, which handles the singularity of 1 + cosine at -loc;
    equal steps around loc.
    """
    t = torch.linspace(-3.3, 3.3, points, dtype=torch.float64)
    s = np.pi / 2 * t.sinh()
    angle = np.pi * torch.sigmoid(2 * s)
    weight = np.pi / 2 * (np.pi / 2) * t.cosh() / s.cosh().square() * (t[1] - t[0])
    dim = loc.shape[-1]
    basis = torch.linalg.svd(loc[None])[2][1:]
    if dim == 2:
        around, each = torch.stack([basis[0], -basis[0]]), 1.0
    else:
        turn = torch.arange(64, dtype=torch.float64) * (2 * np.pi / 64) + 0.1
        around, each = torch.stack([turn.cos(), turn.sin()], -1) @ basis, 2 * np.pi / 64
        weight = weight * angle.sin()
    nodes = angle.cos()[:, None, None] * loc + angle.sin()[:, None, None] * around
    weights = (each * weight)[:, None].expand(-1, len(around))
    return nodes.flatten(0, 1), weights.flatten()


def within(samples: Tensor, truth: Tensor | float, errors: float = 5.0) -> bool:
    """Whether the means over the first dimension are within `errors` standard errors."""
    mean, spread = samples.mean(0), samples.std(0) / len(samples) ** 0.5
    return bool(((mean - truth).abs() <= errors * spread + 1e-12).all())

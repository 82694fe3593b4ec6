"""Every bijection alone under the watch; see test_no_copies.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from flowkernels import bijections

from .watch import fake_device, to_device, watched

ROWS = 6

BIJECTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ActNorm": (lambda: bijections.ActNorm(4), (ROWS, 4, 2, 2)),
    "ActNormConv1x1": (lambda: bijections.ActNormConv1x1(4), (ROWS, 4, 2, 2)),
    "AdditiveLogRatio": (lambda: bijections.AdditiveLogRatio(4), (ROWS, 4)),
    "AffineAutoregressive": (
        lambda: bijections.AffineAutoregressive(bijections.MaskedNetwork(4)), (ROWS, 4)
    ),
    "AffineCoupling": (
        lambda: bijections.AffineCoupling(bijections.mlp_conditioner(2, 4)), (ROWS, 4)
    ),
    "Compose": (lambda: bijections.Compose([]), (ROWS, 4)),
    "Dequantize": (lambda: bijections.Dequantize(), (ROWS, 4)),
    "Flip": (lambda: bijections.Flip(), (ROWS, 4)),
    "GlowStep": (
        lambda: bijections.GlowStep(
            4, bijections.AffineCoupling(bijections.conv_conditioner(2, 4, 8))
        ),
        (ROWS, 4, 2, 2),
    ),
    "GlowSteps": (
        lambda: bijections.GlowSteps(
            [bijections.GlowStep(
                4, bijections.AffineCoupling(bijections.conv_conditioner(2, 4, 8))
            )]
        ),
        (ROWS, 4, 2, 2),
    ),
    "Inverse": (lambda: bijections.Inverse(bijections.Logit()), (ROWS, 4)),
    "InvertibleConv1x1": (lambda: bijections.InvertibleConv1x1(4), (ROWS, 4, 2, 2)),
    "LULinear": (lambda: bijections.LULinear(4), (ROWS, 4, 2, 2)),
    "Logit": (lambda: bijections.Logit(), (ROWS, 4)),
    "Multiscale": (
        lambda: bijections.Multiscale([bijections.Flip(), bijections.Flip()], (1, 4, 4)),
        (ROWS, 1, 4, 4),
    ),
    "Permutation": (lambda: bijections.Permutation([2, 0, 1, 3]), (ROWS, 4)),
    "ScaledStereographic": (lambda: bijections.ScaledStereographic(4), (ROWS, 4)),
    "SplineAutoregressive": (
        lambda: bijections.SplineAutoregressive(
            bijections.MaskedNetwork(4, 11, (8,), grouped=True), bins=4
        ),
        (ROWS, 4),
    ),
    "SplineCoupling": (
        lambda: bijections.SplineCoupling(bijections.mlp_conditioner(2, 46)), (ROWS, 4)
    ),
    "Squeeze": (lambda: bijections.Squeeze(), (ROWS, 1, 4, 4)),
    "Standardize": (
        lambda: bijections.Standardize(torch.zeros(4), torch.ones(4)), (ROWS, 4)
    ),
    "StickBreaking": (lambda: bijections.StickBreaking(4), (ROWS, 4)),
    "VariationalDequantize": (
        lambda: bijections.VariationalDequantize(1, hidden=8), (ROWS, 1, 4, 4)
    ),
}  # fmt: skip


@pytest.mark.parametrize("device", ["cuda", "meta"])
@pytest.mark.parametrize("name", BIJECTIONS)
def test_bijection(name: str, device: str) -> None:
    """Forward and inverse with gradients, from the first call; also on meta tensors."""
    make, shape = BIJECTIONS[name]
    layer: Any = make().train()
    if device == "meta":
        layer = layer.to("meta")
        x = torch.rand(shape, device="meta", requires_grad=True)
        z, log_det = layer(x)
        back, rest = layer.inverse(z)
        (back.sum() + log_det.sum() + rest.sum()).backward()
        return
    with fake_device():
        to_device(layer)
        x = torch.rand(shape, device="cuda", requires_grad=True)
        with watched():
            z, log_det = layer(x)
            back, rest = layer.inverse(z)
            (back.sum() + log_det.sum() + rest.sum()).backward()


def test_every_bijection_is_covered() -> None:
    exported = {
        name
        for name in bijections.__all__
        if inspect.isclass(value := getattr(bijections, name))
        and issubclass(value, bijections.Bijection)
    }
    assert set(BIJECTIONS) == exported - {"Bijection", "Coupling", "SimplexBijection"}

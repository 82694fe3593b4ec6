"""nflows' layers with and without `accelerate`, value by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import adapters

from .parity import DTYPES, SPLINES, TOLERANCES, check

pytest.importorskip("nflows", reason="nflows is not installed (extra `peers`)")

from nflows import transforms
from nflows.nn import nets
from nflows.transforms.base import InputOutsideDomain

MASKS = {
    "second": [-1, -1, -1, 1, 1, 1],
    "first": [1, 1, -1, -1, -1, -1],
    "even": [1, -1, 1, -1, 1, -1, 1],
    "odd": [-1, 1, -1, 1, -1, 1, -1],
    "others": [1, 1, -1, 1, -1, -1],
}
CONTEXT = 3
Make = Callable[[int, int], nn.Module]


class Sigmoids(nn.Module):
    """A network of a user's own, which is called as it is."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.hidden_features = 8
        self.layers = nn.Sequential(nn.Linear(a, 8), nn.Sigmoid(), nn.Linear(8, b))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Mlp(nets.MLP):
    """nflows' own, which lacks the argument that its couplings pass."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = super().forward(x)
        return out


NETWORKS: dict[str, Make] = {
    "residual": lambda a, b: nets.ResidualNet(a, b, 8),
    "residual tanh": lambda a, b: nets.ResidualNet(a, b, 8, activation=torch.tanh),
    "residual elu": lambda a, b: nets.ResidualNet(a, b, 8, activation=nn.ELU()),
    "batch norm": lambda a, b: nets.ResidualNet(a, b, 8, use_batch_norm=True),
    "dropout 0": lambda a, b: nets.ResidualNet(a, b, 8, dropout_probability=0.0),
    "context": lambda a, b: nets.ResidualNet(a, b, 8, context_features=CONTEXT),
    "mlp": lambda a, b: Mlp([a], [b], [8, 8]),
    "own": Sigmoids,
}


def directions(context: Tensor | None = None) -> list[Any]:
    def forward(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
        return [*module(x[0], context)]

    def inverse(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
        return [*module.inverse(x[0], context)]

    return [forward, inverse]


def couplings(mask: list[int], make: Make) -> dict[str, nn.Module]:
    """One of each kind that is replaced."""
    made: dict[str, nn.Module] = {
        "affine": transforms.AffineCouplingTransform(mask, make),
        "additive": transforms.AdditiveCouplingTransform(mask, make),
        "spline": transforms.PiecewiseRationalQuadraticCouplingTransform(
            mask, make, num_bins=5, tails="linear", tail_bound=2.0
        ),
    }
    general = getattr(transforms.AffineCouplingTransform, "GENERAL_SCALE_ACTIVATION", None)
    if general is not None:
        made["general"] = transforms.AffineCouplingTransform(mask, make, scale_activation=general)
    return made


@DTYPES
@pytest.mark.parametrize("mask", MASKS)
def test_masks(mask: str, dtype: torch.dtype) -> None:
    x = torch.randn(9, len(MASKS[mask]))
    for name, module in couplings(MASKS[mask], NETWORKS["residual"]).items():
        check(module, [x], directions(), dtype, SPLINES if name == "spline" else TOLERANCES)


@DTYPES
@pytest.mark.filterwarnings("ignore:Inputs to the softmax")
@pytest.mark.parametrize("network", NETWORKS)
def test_networks(network: str, dtype: torch.dtype) -> None:
    x = torch.randn(9, 6)
    context = torch.randn(9, CONTEXT, dtype=dtype) if network == "context" else None
    for name, module in couplings(MASKS["others"], NETWORKS[network]).items():
        tolerances = SPLINES if name == "spline" else TOLERANCES
        check(module, [x], directions(context), dtype, tolerances)


@DTYPES
@pytest.mark.parametrize("mask", ["first", "odd", "others"])
def test_images(mask: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, len(MASKS[mask]), 4, 4)
    for name, module in couplings(MASKS[mask], lambda a, b: nets.ConvResidualNet(a, b, 8)).items():
        check(module, [x], directions(), dtype, SPLINES if name == "spline" else TOLERANCES)


@DTYPES
def test_an_unconditional_transform_of_the_kept_features(dtype: torch.dtype) -> None:
    module = transforms.PiecewiseRationalQuadraticCouplingTransform(
        MASKS["first"], NETWORKS["residual"], num_bins=5, tails="linear", tail_bound=2.0,
        apply_unconditional_transform=True,
    )  # fmt: skip
    check(module, [torch.randn(9, 6)], directions(), dtype, SPLINES)


@DTYPES
def test_splines_of_the_unit_interval(dtype: torch.dtype) -> None:
    module = transforms.PiecewiseRationalQuadraticCouplingTransform(
        MASKS["first"], NETWORKS["residual"], num_bins=5
    )
    ours = check(module, [torch.rand(9, 6)], directions(), dtype, SPLINES)
    with pytest.raises(InputOutsideDomain):
        ours(torch.full((9, 6), 1.5, dtype=dtype))


@DTYPES
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
@pytest.mark.parametrize("context", [None, CONTEXT], ids=["", "context"])
def test_autoregressive(residual: bool, context: int | None, dtype: torch.dtype) -> None:
    x, c = torch.randn(9, 5), context and torch.randn(9, CONTEXT, dtype=dtype)
    given: dict[str, Any] = {"context_features": context, "use_residual_blocks": residual}
    affine = transforms.MaskedAffineAutoregressiveTransform(5, 16, **given)
    check(affine, [x], directions(c), dtype)
    spline = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        5, 16, num_bins=4, tails="linear", tail_bound=2.0, **given
    )
    check(spline, [x], directions(c), dtype, SPLINES)


def test_a_plain_autoregressive_inverse_takes_one_call() -> None:
    module = transforms.MaskedAffineAutoregressiveTransform(5, 16, use_residual_blocks=False)
    adapters.accelerate(module)
    adapters.report().reset()
    module.inverse(torch.randn(9, 5))
    assert adapters.report().served == 1


def test_what_is_left_alone() -> None:
    def reasons(module: nn.Module) -> list[str]:
        adapters.report().reset()
        adapters.accelerate(module)
        (record,) = adapters.report().records.values()
        return [*record.left_modules]

    class Other(transforms.AffineCouplingTransform):
        def _scale_and_shift(self, transform_params: Tensor) -> Any:
            return super()._scale_and_shift(2 * transform_params)

    residual = NETWORKS["residual"]
    assert reasons(Other(MASKS["first"], residual)) == ["Other has its own `_scale_and_shift`"]
    with_transform = transforms.AffineCouplingTransform(
        MASKS["first"], residual, lambda features: transforms.PointwiseAffineTransform(1.0, 2.0)
    )
    assert reasons(with_transform) == ["a transform of the kept channels"]
    many = transforms.PiecewiseRationalQuadraticCouplingTransform(
        MASKS["first"], residual, num_bins=129, tails="linear"
    )
    assert reasons(many) == ["more than 128 bins"]


def test_a_call_that_the_library_refuses_is_the_librarys() -> None:
    module = adapters.accelerate(couplings(MASKS["first"], NETWORKS["residual"])["affine"])
    adapters.report().reset()
    with pytest.raises(ValueError, match="Expected features"):
        module(torch.randn(2, 7))
    (record,) = adapters.report().records.values()
    assert record.left == {"an input that the library refuses": 1}

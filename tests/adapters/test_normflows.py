"""normflows' layers with and without `accelerate`, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import adapters

from .parity import DTYPES, SPLINES, TOLERANCES, check

pytest.importorskip("normflows", reason="normflows is not installed (extra `peers`)")

from normflows import flows, nets

# normflows calls torch.lu.
pytestmark = pytest.mark.filterwarnings("ignore:torch.lu is deprecated")
SCALE_MAPS = ["exp", "sigmoid", "sigmoid_inv"]
MODES = ["channel", "channel_inv", "checkerboard", "checkerboard_inv"]


def forward(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
    return [*module(x[0])]


def inverse(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
    return [*module.inverse(x[0])]


BOTH = [forward, inverse]


def halves(mode: str, dim: int) -> tuple[int, int]:
    """How many channels are kept and coupled."""
    large, small = (dim + 1) // 2, dim // 2
    return (small, large) if mode == "channel_inv" else (large, small)


# normflows' checkerboards need an even last dimension.
SPLITS = [(mode, dim) for mode in MODES for dim in (6, 7) if dim == 6 or "check" not in mode]


@DTYPES
@pytest.mark.parametrize(("mode", "dim"), SPLITS)
@pytest.mark.parametrize("scale_map", [*SCALE_MAPS, None], ids=str)
def test_blocks(scale_map: str | None, mode: str, dim: int, dtype: torch.dtype) -> None:
    kept, coupled = halves(mode, dim)
    for leaky in (0.0, 0.1):
        net = nets.MLP([kept, 16, 16, (2 if scale_map else 1) * coupled], leaky=leaky)
        options: dict[str, Any] = {"scale": scale_map is not None, "split_mode": mode}
        if scale_map is not None:
            options["scale_map"] = scale_map
        check(flows.AffineCouplingBlock(net, **options), [torch.randn(9, dim)], BOTH, dtype)


@DTYPES
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale_map", SCALE_MAPS)
def test_glow_blocks(scale_map: str, mode: str, dtype: torch.dtype) -> None:
    block = flows.GlowBlock(4, 8, scale_map=scale_map, split_mode=mode)
    if dtype is torch.float64:
        block.double()
    # ActNorm takes its scale from the first batch.
    block(torch.randn(3, 4, 6, 6, dtype=dtype))
    check(block, [torch.randn(3, 4, 6, 6)], BOTH, dtype)


@DTYPES
@pytest.mark.parametrize("scale_map", [*SCALE_MAPS, None], ids=str)
@pytest.mark.parametrize("output", [None, "tanh"], ids=str)
def test_pairs(scale_map: str | None, output: str | None, dtype: torch.dtype) -> None:
    def pair(backward: bool) -> Any:
        def run(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
            (kept, z), log_det = (module.inverse if backward else module)([*x])
            return [kept, z, log_det]

        return run

    net = nets.MLP([3, 16, 8 if scale_map else 4], output_fn=output)
    module = flows.AffineCoupling(net, scale_map is not None, scale_map or "exp")
    check(module, [torch.randn(9, 3), torch.randn(9, 4)], [pair(False), pair(True)], dtype)


@DTYPES
@pytest.mark.parametrize("tails", ["linear", "circular"])
@pytest.mark.parametrize("reverse", [False, True])
def test_splines(tails: str, reverse: bool, dtype: torch.dtype) -> None:
    layer = flows.CoupledRationalQuadraticSpline(6, 2, 16, tails=tails, reverse_mask=reverse)
    check(layer, [torch.randn(9, 6)], BOTH, dtype, SPLINES)


@DTYPES
def test_splines_of_the_unit_interval(dtype: torch.dtype) -> None:
    layer = flows.CoupledRationalQuadraticSpline(6, 2, 16, tails=None)
    check(layer, [torch.rand(9, 6)], BOTH, dtype, SPLINES)


@DTYPES
@pytest.mark.parametrize("permuted", [False, True])
def test_autoregressive(permuted: bool, dtype: torch.dtype) -> None:
    layer = flows.AutoregressiveRationalQuadraticSpline(6, 2, 16, permute_mask=permuted)
    check(layer, [torch.randn(9, 6)], BOTH, dtype, SPLINES)
    check(flows.MaskedAffineAutoregressive(6, 16), [torch.randn(9, 6)], BOTH, dtype, TOLERANCES)


def test_with_a_context() -> None:
    c = torch.randn(9, 2, dtype=torch.float64)

    def given(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
        return [*module(x[0], c), *module.inverse(x[0], c)]

    for layer in (
        flows.CoupledRationalQuadraticSpline(6, 2, 16, num_context_channels=2),
        flows.AutoregressiveRationalQuadraticSpline(6, 2, 16, num_context_channels=2),
    ):
        check(layer, [torch.randn(9, 6)], [given], torch.float64, SPLINES)


def test_what_is_left_alone() -> None:
    def reasons(module: nn.Module) -> set[str]:
        adapters.report().reset()
        adapters.accelerate(module)
        return {why for r in adapters.report().records.values() for why in r.left_modules}

    circular = flows.CircularCoupledRationalQuadraticSpline(6, 2, 16, [1, 2])
    assert reasons(circular) == {"tails that differ from feature to feature"}
    other = flows.AffineCoupling(nets.MLP([3, 8, 6]), scale_map="cosh")
    assert reasons(other) == {"a scale map that is not known"}
    # Their modules are not replaced, and nothing is counted.
    assert reasons(flows.MaskedAffineFlow(torch.tensor([1.0, 0.0]))) == set()


def test_the_modules_inside_a_block_may_change() -> None:
    """A block asks its parts at each call, not only at the first one."""
    block = adapters.accelerate(flows.AffineCouplingBlock(nets.MLP([3, 16, 6])))
    x = torch.randn(9, 6)
    before = block(x)[0]
    block.flows[1].scale_map = "sigmoid"
    plain = adapters.restore(block)
    expected = plain(x)[0]
    got = adapters.accelerate(block)(x)[0]
    assert not torch.allclose(before, expected)
    torch.testing.assert_close(got, expected)

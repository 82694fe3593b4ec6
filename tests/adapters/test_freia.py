"""FrEIA's blocks with and without `accelerate`, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import adapters

from .parity import DTYPES, check

pytest.importorskip("FrEIA", reason="FrEIA is not installed (extra `peers`)")

from FrEIA import modules

AFFINE = ["RNVPCouplingBlock", "GLOWCouplingBlock", "GINCouplingBlock", "AffineCouplingOneSided"]
ALL_IN_ONE: dict[str, dict[str, Any]] = {
    "default": {},
    "soft": {"permute_soft": True},
    "householder": {"learned_householder_permutation": 2, "permute_soft": True},
    "reverse": {"reverse_permutation": True},
    "sigmoid": {"global_affine_type": "SIGMOID"},
    "exp": {"global_affine_type": "EXP", "affine_clamping": 1.4},
}


def vectors(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Linear(a, 16), nn.LeakyReLU(), nn.Linear(16, b))


def convolutions(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, b, 1))


SHAPES: dict[str, Any] = {"6": (6,), "5": (5,), "image": (4, 6, 6)}


def runs(condition: Sequence[Tensor]) -> list[Any]:
    def direction(rev: bool) -> Any:
        def run(module: Any, x: Sequence[Tensor]) -> list[Tensor]:
            (y,), log_det = module([x[0]], condition, rev=rev)
            # Blocks that keep the volume return a number.
            return [y, log_det] if isinstance(log_det, Tensor) else [y]

        return run

    return [direction(False), direction(True)]


def arguments(shape: str, conditional: bool, dtype: torch.dtype) -> tuple[Any, list[Any], Any]:
    """Of a constructor, the runs, and inputs."""
    dims = SHAPES[shape]
    subnet = vectors if len(dims) == 1 else convolutions
    conditions = [(2, *dims[1:])] if conditional else []
    c = [torch.randn(9, *of, dtype=dtype) for of in conditions]
    given = {"dims_in": [dims], "dims_c": conditions, "subnet_constructor": subnet}
    return given, runs(c), [torch.randn(9, *dims)]


CONDITIONAL = pytest.mark.parametrize("conditional", [False, True], ids=["", "conditional"])


@DTYPES
@CONDITIONAL
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", AFFINE)
def test_affine_blocks(block: str, shape: str, conditional: bool, dtype: torch.dtype) -> None:
    given, both, x = arguments(shape, conditional, dtype)
    for split in (0.5, 1):
        check(getattr(modules, block)(**given, split_len=split), x, both, dtype)


@DTYPES
@pytest.mark.parametrize("clamp_activation", ["ATAN", "TANH", "SIGMOID"])
@pytest.mark.parametrize("block", AFFINE)
def test_clamps(block: str, clamp_activation: str, dtype: torch.dtype) -> None:
    given, both, x = arguments("6", False, dtype)
    module = getattr(modules, block)(**given, clamp=1.3, clamp_activation=clamp_activation)
    check(module, [3 * x[0]], both, dtype)


@DTYPES
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clamp_activation", ["ATAN", "TANH", "SIGMOID"])
def test_conditional_affine(clamp_activation: str, shape: str, dtype: torch.dtype) -> None:
    given, both, x = arguments(shape, True, dtype)
    module = modules.ConditionalAffineTransform(**given, clamp_activation=clamp_activation)
    check(module, x, both, dtype)


@DTYPES
@CONDITIONAL
@pytest.mark.parametrize("shape", SHAPES)
def test_nice(shape: str, conditional: bool, dtype: torch.dtype) -> None:
    given, both, x = arguments(shape, conditional, dtype)
    module = modules.NICECouplingBlock(**given)
    ours = check(module, x, both, dtype)
    if not conditional:
        assert ours([x[0].to(dtype)])[1] == 0.0


@DTYPES
@CONDITIONAL
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", ALL_IN_ONE)
def test_all_in_one(options: str, shape: str, conditional: bool, dtype: torch.dtype) -> None:
    given, both, x = arguments(shape, conditional, dtype)
    check(modules.AllInOneBlock(**given, **ALL_IN_ONE[options]), x, both, dtype)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_what_is_left_alone() -> None:
    def reasons(block: str, **options: Any) -> list[str]:
        adapters.report().reset()
        module = getattr(modules, block)([(6,)], subnet_constructor=vectors, **options)
        adapters.accelerate(module)
        return [why for r in adapters.report().records.values() for why in r.left_modules]

    assert reasons("AllInOneBlock", gin_block=True) == ["a GIN block"]
    unknown = ["a clamp that is not known"]
    assert reasons("GLOWCouplingBlock", clamp_activation=torch.sin) == unknown
    assert reasons("GLOWCouplingBlock", clamp_activation=nn.Tanh()) == unknown
    assert reasons("GLOWCouplingBlock", split_len=0) == ["no channels on one side"]
    # The formula decides, not the name.
    assert reasons("GLOWCouplingBlock", clamp_activation=lambda u: torch.tanh(u)) == []


def test_a_graph() -> None:
    """FrEIA's own containers hold the modules that are changed."""
    from FrEIA import framework

    nodes: list[Any] = [framework.InputNode(6)]
    nodes += [framework.Node(nodes[-1], modules.GLOWCouplingBlock, {"subnet_constructor": vectors})]
    nodes.append(framework.OutputNode(nodes[-1]))
    graph = adapters.accelerate(framework.GraphINN(nodes))
    adapters.report().reset()
    z, _ = graph(torch.randn(3, 6))
    assert z.shape == (3, 6)
    assert adapters.report().served == 1

"""Dimensions of length 0, wherever a user may have one: values, derivatives, graphs and vmap."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.ops import reference


def _mlp(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *layers: function(x, list(layers[::2]), list(layers[1::2]))


def _layers(*widths: int) -> list[Tensor]:
    torch.manual_seed(sum(widths))
    tensors = []
    for width_in, width_out in itertools.pairwise(widths):
        tensors += [_randn(width_out, width_in), _randn(width_out)]
    return tensors


def _randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


COUPLING = (ops.affine_coupling, reference.affine_coupling)
SPLIT = (ops.affine_coupling_split, reference.affine_coupling_split)
MLP = (_mlp(ops.mlp), _mlp(reference.mlp))
LAYER = (_mlp(ops.affine_coupling_mlp), _mlp(reference.affine_coupling_mlp))
DIAGONAL = (ops.log_det_diagonal, reference.log_det_diagonal)
SLERP = (lambda a, b: ops.slerp(a, b, 0.3), lambda a, b: reference.slerp(a, b, 0.3))


def _of(n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return tuple(lambda d, f=f: f(d, n) for f in DIAGONAL)  # type: ignore[return-value]


CASES: dict[str, tuple[tuple[Callable[..., Any], Callable[..., Any]], list[Tensor]]] = {
    "mlp, no inputs": (MLP, [_randn(5, 0), *_layers(0, 4, 2)]),
    "mlp, one layer without inputs": (MLP, [_randn(5, 0), *_layers(0, 4)]),
    "mlp, no hidden units": (MLP, [_randn(5, 3), *_layers(3, 0, 2)]),
    "mlp, no outputs": (MLP, [_randn(5, 3), *_layers(3, 4, 0)]),
    "mlp, no rows": (MLP, [_randn(0, 3), *_layers(3, 4, 2)]),
    "mlp, an empty batch without inputs": (MLP, [_randn(2, 0, 0), *_layers(0, 4, 2)]),
    "coupling network, all channels coupled": (LAYER, [_randn(5, 3), *_layers(0, 4, 6)]),
    "coupling network, none coupled": (LAYER, [_randn(5, 3), *_layers(3, 4, 0)]),
    "split, none coupled": (SPLIT, [_randn(5, 3), _randn(5, 0)]),
    "split, all coupled": (SPLIT, [_randn(5, 3), _randn(5, 6)]),
    "coupling, no channels": (COUPLING, [_randn(5, 0), _randn(5, 0)]),
    "coupling, no channels in 5-D": (COUPLING, [_randn(2, 0, 3, 3, 3), _randn(2, 0, 3, 3, 3)]),
    "coupling, views in 5-D without elements": (
        COUPLING,
        [_randn(3, 3, 0, 3, 2).permute(4, 2, 1, 0, 3) for _ in range(2)],
    ),
    "coupling, empty sliced 5-D views": (
        COUPLING,
        [_randn(4, 6, 5, 4, 3)[::2, ::2, :0, ::3], _randn(4, 12, 5, 4, 3)[::2, ::2, :0, ::3]],
    ),
    "log-det, every element its own": (_of(0), [_randn(4, 3).abs() + 0.5]),
    "log-det, a number": (_of(0), [_randn().abs() + 0.5]),
    "log-det, no elements": (_of(1), [_randn(4, 0)]),
    "log-det, no rows": (_of(1), [_randn(0, 4)]),
    "log-det, no elements in two dimensions": (_of(2), [_randn(3, 4, 0)]),
    "slerp, no pairs": (SLERP, [_randn(0, 4), _randn(0, 4)]),
}  # fmt: skip
each = pytest.mark.parametrize("name", CASES)


def _outputs(function: Callable[..., Any], tensors: list[Tensor]) -> tuple[Tensor, ...]:
    out = function(*tensors)
    return out if isinstance(out, tuple) else (out,)


@each
def test_values_and_derivatives(name: str) -> None:
    (op, definition), tensors = CASES[name]
    results = []
    for function in (op, definition):
        leaves = [t.detach().clone().requires_grad_() for t in tensors]
        outputs = _outputs(function, leaves)
        total = sum((o * (o + 1)).sum() for o in outputs)
        first = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
        squares = sum((g * g).sum() for g in first if g is not None)
        second = torch.autograd.grad(squares, leaves, allow_unused=True)
        zero = [torch.zeros_like(t) for t in leaves]
        filled = [[z if g is None else g for g, z in zip(gs, zero, strict=True)]
                  for gs in (first, second)]  # fmt: skip
        results.append((outputs, *filled))
    for mine, expected in zip(*results, strict=True):
        assert_close(mine, type(mine)(expected))


@each
def test_in_a_compiled_graph(name: str) -> None:
    (op, _), tensors = CASES[name]
    compiled = torch.compile(op, backend="eager", fullgraph=True)
    assert_close(_outputs(compiled, tensors), _outputs(op, tensors))


@each
def test_under_vmap(name: str) -> None:
    (op, _), tensors = CASES[name]
    stacked = [torch.stack([t, t + 1]) for t in tensors]
    mine = torch.func.vmap(op)(*stacked)
    mine = mine if isinstance(mine, tuple) else (mine,)
    for i in range(2):
        expected = _outputs(op, [t[i] for t in stacked])
        assert_close(tuple(m[i] for m in mine), expected)

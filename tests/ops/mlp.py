"""Cases of mlp."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample


def _call(x: Tensor, *layers: Tensor, **options: Any) -> Tensor:
    return ops.mlp(x, layers[::2], layers[1::2], **options)


def _reference(x: Tensor, *layers: Tensor, **options: Any) -> Tensor:
    return reference.mlp(x, layers[::2], layers[1::2], **options)


def _arguments(sample: Sample) -> tuple[Any, ...]:
    x, *layers = sample.leaves().tensors
    o = {"activation": "relu", "negative_slope": 0.01, "residual": False, **sample.options}
    return x, layers[::2], layers[1::2], *o.values()


def network_sample(batch: tuple[int, ...], *widths: int, **options: Any) -> Sample:
    """x and the layers of a network."""
    g = torch.Generator().manual_seed(sum(widths) + sum(batch))
    # So that no sum cancels and no argument comes so near to 0 that rounding to half precision
    # carries it over: a quarter of the units are negative, and so are the weights that read them.
    of_inputs = torch.ones(widths[0], dtype=torch.float64)
    tensors = [0.25 + torch.rand((*batch, widths[0]), dtype=torch.float64, generator=g)]
    for width_in, width_out in itertools.pairwise(widths):
        off = torch.where(torch.arange(width_out) % 4 == 1, -1.0, 1.0).double()
        weight = torch.rand((width_out, width_in), dtype=torch.float64, generator=g) + 0.25
        bias = torch.rand((width_out,), dtype=torch.float64, generator=g) + 0.25
        tensors += [weight * off.unsqueeze(1) * of_inputs / max(width_in, 1), bias * off]
        of_inputs = off
    label = ", ".join([f"{batch}, {widths}", *(f"{k}={v}" for k, v in options.items())])
    return Sample(label, tuple(tensors), options)


def _bad() -> list[Bad]:
    x, w, b = torch.ones(5, 3), torch.ones(4, 3), torch.ones(4)
    f: Any = ops.mlp
    return [
        Bad("no layers", lambda: f(x, [], []), ValueError, ("mlp", "`weights`")),
        Bad("biases", lambda: f(x, [w], []), ValueError, ("`biases`", "1")),
        Bad("weight", lambda: f(x, [w, w], [b, b]), ValueError, ("`weights[1]`", "4", "[4, 3]")),
        Bad("bias", lambda: f(x, [w], [b[1:]]), ValueError, ("`biases[0]`", "(4)", "[3]")),
        Bad("activation", lambda: f(x, [w], [b], activation="gelu"), ValueError, ("gelu", "tanh")),
        Bad("slope", lambda: f(x, [w], [b], negative_slope=0.0), ValueError, ("`negative_slope`",)),
        Bad("odd", lambda: f(x, [w], [b], residual=True), ValueError, ("`weights`", "even", "1")),
        Bad(
            "block",
            lambda: f(x, [w, w.mT, w.mT[:2].mT, w[:1, :2]], [b, b[:3], b, b[:1]], residual=True),
            ValueError,
            ("`weights[2]`",),
        ),
        Bad("scalar", lambda: f(x[0, 0], [w], [b]), ValueError, ("`x`", "scalar")),
        Bad("integers", lambda: f(x.int(), [w], [b]), TypeError, ("`x`", "Int")),
        Bad("dtypes", lambda: f(x, [w.double()], [b]), TypeError, ("`weights[0]`", "Double")),
        Bad("no tensor", lambda: f([1.0], [w], [b]), TypeError, ("`x`", "list")),
        Bad("no sequence", lambda: f(x, w, [b]), TypeError, ("`weights`", "Tensor")),
        Bad("no tensors", lambda: f(x, [w], [None]), TypeError, ("`biases[0]`", "NoneType")),
    ]


MLP = Case(
    op="mlp",
    call=_call,
    reference=_reference,
    arguments=_arguments,
    samples=lambda: [
        network_sample((1,), 1, 1),
        network_sample((5,), 3, 4),
        network_sample((33,), 3, 17, 6),
        network_sample((97,), 5, 16, 31, 2),
        network_sample((150,), 3, 64, 64, 6),
        network_sample((2, 3, 4), 7, 9, 5),
        network_sample((), 4, 3),
        network_sample((700,), 2, 33, 128, 1),
        network_sample((12,), 20, 160, 3),  # too wide for the kernels: torch's products
        network_sample((33,), 3, 17, 6, activation="leaky_relu", negative_slope=0.3),
        network_sample((97,), 5, 16, 31, 2, activation="elu"),
        network_sample((130,), 3, 40, 9, activation="tanh"),
        network_sample((12,), 20, 160, 130, 3, activation="elu"),
        network_sample((12,), 20, 160, 3, activation="leaky_relu"),
        network_sample((12,), 20, 160, 3, activation="tanh"),
        network_sample((5,), 3, 4, 2, residual=True),
        network_sample((100,), 3, 20, 7, 20, 9, 20, 5, residual=True),
        network_sample((31,), 4, 16, 16, 16, 6, residual=True, activation="tanh"),
        network_sample((210,), 4, 33, 16, 33, 6, residual=True, activation="elu"),
        network_sample((9,), 4, 140, 8, 140, 6, residual=True),
        network_sample((9,), 4, 140, 8, 140, 6, residual=True, activation="leaky_relu"),
    ],
    small=lambda: [
        network_sample((3,), 2, 3, 2),
        network_sample((2, 2), 3, 4, 5, 2),
        network_sample((2,), 130, 2),
        network_sample((2,), 2, 3, 2, activation="elu"),
        network_sample((2,), 2, 3, 2, activation="tanh"),
        network_sample((2,), 2, 3, 2, activation="leaky_relu", negative_slope=0.5),
        network_sample((2,), 2, 3, 2, 3, 1, residual=True, activation="tanh"),
        network_sample((2,), 2, 129, 1, 129, 1, residual=True),
    ],
    empty=lambda: [
        network_sample((0,), 3, 4, 2),
        network_sample((2, 0), 3, 2),
        network_sample((3,), 0, 2),  # the bias alone
        network_sample((2, 3), 0, 4, 2),
        network_sample((3,), 4, 0, 2),
        network_sample((3,), 4, 5, 0),
        network_sample((0,), 0, 0, 0),
        network_sample((0,), 2, 3, 2, 3, 1, residual=True),
        network_sample((3,), 2, 3, 0, 3, 1, residual=True, activation="elu"),
    ],
    bad=_bad,
    # Half precision: torch's own layers, each of which rounds its result.
    ulps={torch.float16: 8.0, torch.bfloat16: 8.0},
)

CASES = [MLP]

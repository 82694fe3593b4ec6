"""Cases of affine_coupling_mlp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample
from .mlp import network_sample

Function = Callable[..., Any]


def _with_lists(function: Function) -> Function:
    def call(x: Tensor, *layers: Tensor, **options: Any) -> Any:
        return function(x, layers[::2], layers[1::2], **options)

    return call


def _arguments(sample: Sample) -> tuple[Any, ...]:
    x, *layers = sample.leaves().tensors
    o = {
        "scale_fn": "tanh", "bound": 2.0, "gain": 1.0, "layout": "shift_scale",
        "order": "scale_then_shift", "inverse": False, "transform": "second",
        "activation": "relu", "negative_slope": 0.01, "residual": False,
    }  # fmt: skip
    return x, layers[::2], layers[1::2], *(o | sample.options).values()


def _sample(rows: int, channels: int, coupled: int, *hidden: int, **options: Any) -> Sample:
    network = network_sample((rows,), channels - coupled, *hidden, 2 * coupled)
    g = torch.Generator().manual_seed(channels)
    rest = 0.25 + torch.rand((rows, coupled), dtype=torch.float64, generator=g)
    x = torch.cat([network.tensors[0], rest], 1)
    return Sample(f"{rows}, {channels}, {options}", (x, *network.tensors[1:]), options)


def _bad() -> list[Bad]:
    x, w, b = torch.ones(5, 4), torch.ones(6, 1), torch.ones(6)
    f: Any = ops.affine_coupling_mlp
    return [
        Bad("rank", lambda: f(x[0], [w], [b]), ValueError, ("`x`", "(B, C)", "[4]")),
        Bad("no layers", lambda: f(x, [], []), ValueError, ("affine_coupling_mlp", "`weights`")),
        Bad("odd", lambda: f(x, [w[1:]], [b[1:]]), ValueError, ("`weights[0]`", "2 k", "[5, 1]")),
        Bad("many", lambda: f(x, [w.repeat(2, 1)], [b]), ValueError, ("`weights[0]`", "[12, 1]")),
        Bad("reads", lambda: f(x, [w.repeat(1, 3)], [b]), ValueError, ("(out, 1)", "[6, 3]")),
        Bad("biases", lambda: f(x, [w], []), ValueError, ("affine_coupling_mlp", "`biases`")),
        Bad("dtypes", lambda: f(x, [w.double()], [b]), TypeError, ("`weights[0]`", "Double")),
        Bad("no tensor", lambda: f([1.0], [w], [b]), TypeError, ("`x`", "list")),
        Bad("no sequence", lambda: f(x, w, [b]), TypeError, ("`weights`", "Tensor")),
        Bad("transform", lambda: f(x, [w], [b], transform="both"), ValueError, ("`transform`",)),
        Bad("gain", lambda: f(x, [w], [b], gain=-1.0), ValueError, ("`gain`", "-1")),
        Bad("even", lambda: f(x, [w], [b], transform="even"), ValueError, ("even", "2", "3")),
        Bad("residual", lambda: f(x, [w], [b], residual=True), ValueError, ("`weights`", "even")),
        Bad("bound", lambda: f(x, [w], [b], bound=0.0), ValueError, ("`bound`", "0")),
    ]


AFFINE_COUPLING_MLP = Case(
    op="affine_coupling_mlp",
    call=_with_lists(ops.affine_coupling_mlp),
    reference=_with_lists(reference.affine_coupling_mlp),
    arguments=_arguments,
    samples=lambda: [
        _sample(5, 2, 1),
        _sample(33, 5, 3, 17),
        _sample(150, 6, 3, 64, 64, transform="first"),
        _sample(97, 7, 2, 16, inverse=True, layout="interleaved", scale_fn="softplus"),
        _sample(12, 8, 4, 160),  # too wide for the kernels: torch's products
        _sample(700, 4, 3, 33, scale_fn="exp", transform="first", inverse=True),
        _sample(33, 7, 4, 16, transform="even", scale_fn="atan", gain=0.7),
        _sample(130, 6, 3, 16, 8, 16, transform="odd", residual=True, inverse=True),
        _sample(12, 6, 3, 160, transform="odd", activation="elu"),
        _sample(33, 6, 3, 20, activation="leaky_relu", layout="interleaved_scale_shift"),
    ],
    small=lambda: [
        _sample(3, 3, 2, 2),
        _sample(2, 3, 1, 4, 3, transform="first", inverse=True),
        _sample(2, 3, 2, 3, transform="even", activation="tanh", gain=0.8),
        _sample(2, 3, 1, 3, 2, 3, transform="odd", residual=True, inverse=True),
    ],
    empty=lambda: [
        _sample(0, 5, 2, 4),
        _sample(3, 4, 4, 5),  # all channels coupled, by the biases
        _sample(3, 4, 4, transform="first"),
        _sample(3, 4, 0, 5),  # none
        _sample(3, 4, 0, 5, transform="first"),
        _sample(3, 1, 1, 5, inverse=True),
        _sample(3, 4, 2, 0),
        _sample(0, 4, 4, 5),
        _sample(3, 0, 0, 2),
        _sample(3, 1, 1, 5, transform="even"),
        _sample(3, 1, 0, 5, transform="odd"),
        _sample(0, 5, 3, 4, transform="even"),
    ],
    bad=_bad,
    bijection=True,
    # Half precision: torch's own layers, each of which rounds its result.
    rounds_inside=True,
    ulps={torch.float16: 8.0, torch.bfloat16: 8.0},
)

CASES = [AFFINE_COUPLING_MLP]

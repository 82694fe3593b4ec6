"""Cases of affine_autoregressive_inverse and spline_autoregressive_inverse."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference
from flowkernels.ops.rational_quadratic_spline import parameter_count

from .case import Bad, Case, Sample

Function = Callable[..., Any]


def _with_lists(function: Function) -> Function:
    """`function` of z, the layers and, if there is one more tensor, a context."""

    def call(z: Tensor, *rest: Tensor, **options: Any) -> Any:
        layers = 2 * (len(options["degrees"]) + 1)
        context = rest[layers] if len(rest) > layers else None
        return function(z, rest[:layers:2], rest[1:layers:2], context=context, **options)

    return call


def _spread(width: int, first: int, features: int) -> tuple[int, ...]:
    count = max(features - first, 1)
    return tuple(min(first, features - 1) + i * count // width for i in range(width))


def _sample(
    batch: tuple[int, ...], features: int, *hidden: int, context: int = 0, outputs: int = 2,
    **options: Any,
) -> Sample:  # fmt: skip
    g = torch.Generator().manual_seed(sum(batch) + features + sum(hidden))

    def drawn(*size: int) -> Tensor:
        # Of one sign, so that no ReLU's argument is so near to 0 that rounding carries it over.
        return 0.25 + torch.rand(size, dtype=torch.float64, generator=g)

    tensors = [drawn(*batch, features)]
    widths = (features + context, *hidden, outputs * features)
    for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
        last = i + 1 == len(widths) - 1
        off = torch.where(torch.arange(width_out) % 4 == 1, -1.0, 1.0).double()
        share = 0.3 if last else 1.0
        tensors += [
            drawn(width_out, width_in) * (share * off / max(width_in, 1)).unsqueeze(1),
            drawn(width_out) * (share * off),
        ]
    if context:
        tensors.append(drawn(*batch, context))
    degrees = tuple(_spread(width, 0 if context else 1, features) for width in hidden)
    label = f"{batch}, {features}, {hidden}, {context}, {options}"
    return Sample(label, tuple(tensors), {"degrees": degrees, **options})


def _bad() -> list[Bad]:
    z, w, b = torch.ones(5, 3), [torch.ones(4, 3), torch.ones(6, 4)], [torch.ones(4), torch.ones(6)]
    name, d = "affine_autoregressive_inverse", [(1, 1, 2, 2)]
    f: Any = ops.affine_autoregressive_inverse

    def bad(label: str, error: type[Exception], *mentions: str, **changed: Any) -> Bad:
        given = {"z": z, "weights": w, "biases": b, "degrees": d, **changed}
        return Bad(label, lambda: f(**given), error, (name, *mentions))

    return [
        bad("scalar", ValueError, "`z`", "scalar", z=z[0, 0]),
        bad("no tensor", TypeError, "`z`", "list", z=[1.0]),
        bad("integers", TypeError, "`z`", "int", z=z.int()),
        bad("features", ValueError, "`degrees`", "from 0 to 1", z=z[:, :2]),
        bad("no sequence", TypeError, "`weights`", "Tensor", weights=w[0]),
        bad("no tensors", TypeError, "`biases[1]`", "NoneType", biases=[b[0], None]),
        bad("too few", ValueError, "`weights`", "2", "1", weights=w[:1]),
        bad("biases", ValueError, "`biases`", "2", "1", biases=b[:1]),
        bad("outputs", ValueError, "`weights[1]`", "(6, 4)", weights=[w[0], w[1][:5]]),
        bad("bias", ValueError, "`biases[0]`", "(4,)", "(3,)", biases=[b[0][1:], b[1]]),
        bad("dtype", TypeError, "`weights[0]`", "float64", weights=[w[0].double(), w[1]]),
        bad("device", ValueError, "`biases[0]`", "meta", biases=[b[0].to("meta"), b[1]]),
        bad("sparse", TypeError, "`weights[0]`", "layout", weights=[w[0].to_sparse(), w[1]]),
        bad("degrees", TypeError, "`degrees`", "(1, 1, 2, 2)", degrees=d[0]),
        bad("degree", TypeError, "`degrees`", degrees=[(1, 1, 2, 2.0)]),
        bad("units", ValueError, "`weights[0]`", "(3, 3)", degrees=[(1, 1, 2)]),
        bad("descending", ValueError, "`degrees`", "ascend", degrees=[(1, 2, 1, 2)]),
        bad("high", ValueError, "`degrees`", "from 0 to 2", degrees=[(1, 1, 2, 3)]),
        bad("low", ValueError, "`degrees`", "from 0 to 2", degrees=[(-1, 1, 2, 2)]),
        bad("order", ValueError, "`input_order`", "[0, 1, 1]", input_order=[0, 1, 1]),
        bad("order of floats", ValueError, "`input_order`", input_order=(0, 1, 2.0)),
        bad("order of text", ValueError, "`input_order`", input_order="012"),
        bad("no order", ValueError, "`input_order`", "5", input_order=5),
        bad("true", TypeError, "`degrees`", degrees=((1, 1, 2, True),)),
        bad("plainly high", ValueError, "`degrees`", "from 0 to 2", degrees=((1, 1, 2, 3),)),
        bad("context", ValueError, "`weights[0]`", "(4, 5)", context=torch.ones(5, 2)),
        bad("no context", TypeError, "`context`", "list", context=[1.0]),
        bad("context's dtype", TypeError, "`context`", context=torch.ones(5, 2).double()),
        bad(
            "context's batch", ValueError, "`context`", context=torch.ones(4, 2),
            weights=[torch.ones(4, 5), w[1]],
        ),
        bad("scale_fn", ValueError, "`scale_fn`", "softclip", scale_fn="other"),
        bad("layout", ValueError, "`layout`", "interleaved", layout="other"),
        bad("the order", ValueError, "`order`", "shift_then_scale", order="other"),
        bad("bound", ValueError, "`bound`", "-1", bound=-1.0),
        bad("no number", TypeError, "`bound`", "text", bound="text"),
    ]  # fmt: skip


AFFINE_AUTOREGRESSIVE_INVERSE = Case(
    op="affine_autoregressive_inverse",
    call=_with_lists(ops.affine_autoregressive_inverse),
    reference=_with_lists(reference.affine_autoregressive_inverse),
    samples=lambda: [
        _sample((5,), 1, 3),
        _sample((1,), 2, 4),
        _sample((64,), 3, 5, 7),
        _sample((65,), 5, 16, 9, input_order=(4, 0, 3, 1, 2)),
        _sample((131,), 9, 4, 3, layout="interleaved"),
        _sample((33,), 6, input_order=(5, 4, 3, 2, 1, 0), order="shift_then_scale"),
        _sample((2, 3, 4), 4, 8, context=3, layout="scale_shift"),
        _sample((33,), 4, 8, layout="interleaved_scale_shift"),
        _sample((), 4, 6),
        _sample((700,), 16, 33, 64),
        _sample((12,), 20, 160, 3, context=130),
        *(
            _sample((7,), 4, 9, scale_fn=fn)
            for fn in ("exp", "softclip", "atan", "sigmoid", "inv_sigmoid", "softplus")
        ),
    ],
    small=lambda: [
        _sample((2,), 3, 4, 3, input_order=(2, 0, 1)),
        _sample((2, 2), 2, 3, context=2, layout="interleaved", order="shift_then_scale"),
        _sample((2,), 2, 3, layout="interleaved_scale_shift"),
    ],
    empty=lambda: [
        _sample((0,), 3, 4),
        _sample((2, 0), 3),
        _sample((0,), 2, 3, context=2),
    ],
    bad=_bad,
    bijection=True,
)


def _spline_sample(batch: tuple[int, ...], features: int, *hidden: int, **options: Any) -> Sample:
    bins, boundary = options.get("bins", 8), options.get("boundary", "linear")
    return _sample(
        batch, features, *hidden, outputs=parameter_count(bins, boundary), **options
    )  # fmt: skip


def _bad_spline() -> list[Bad]:
    z = torch.ones(5, 3)
    w, b = [torch.ones(4, 3), torch.ones(69, 4)], [torch.ones(4), torch.ones(69)]
    name, d = "spline_autoregressive_inverse", ((1, 1, 2, 2),)
    f: Any = ops.spline_autoregressive_inverse

    def bad(label: str, error: type[Exception], *mentions: str, **changed: Any) -> Bad:
        given = {"z": z, "weights": w, "biases": b, "degrees": d, **changed}
        return Bad(label, lambda: f(**given), error, (name, *mentions))

    return [
        bad("no tensor", TypeError, "`z`", "list", z=[1.0]),
        bad("outputs", ValueError, "`weights[1]`", "(72, 4)", boundary="circular"),
        bad("bias", ValueError, "`biases[1]`", "(69,)", biases=[b[0], b[1][1:]]),
        bad("plainly high", ValueError, "`degrees`", "from 0 to 2", degrees=((1, 1, 2, 3),)),
        bad("dtype", TypeError, "`biases[1]`", "float64", biases=[b[0], b[1].double()]),
        bad("bins", ValueError, "`bins`", "from 1 to 128", "0", bins=0),
        bad("no integer", TypeError, "`bins`", "8.0", bins=8.0),
        bad("boundary", ValueError, "`boundary`", "circular", boundary="other"),
        bad("convention", ValueError, "`convention`", "zuko", convention="other"),
        bad("bound", ValueError, "`bound`", "-1", bound=-1.0),
        bad("min_width", ValueError, "`min_width`", "0.2", min_width=0.2),
        bad("min_derivative", ValueError, "`min_derivative`", min_derivative=0.0),
        bad("no number", TypeError, "`scale`", "text", scale="text"),
    ]


SPLINE_AUTOREGRESSIVE_INVERSE = Case(
    op="spline_autoregressive_inverse",
    call=_with_lists(ops.spline_autoregressive_inverse),
    reference=_with_lists(reference.spline_autoregressive_inverse),
    samples=lambda: [
        _spline_sample((5,), 1, 3),
        _spline_sample((64,), 3, 5, 7, bins=3),
        _spline_sample((67,), 5, 16, 9, input_order=(4, 0, 3, 1, 2), boundary="none", bins=4),
        _spline_sample((33,), 6, input_order=(5, 4, 3, 2, 1, 0), boundary="circular", bound=1.0),
        _spline_sample((2, 3, 4), 4, 8, context=3, convention="zuko", bound=0.75),
        _spline_sample((), 4, 6, scale=0.5),
        _spline_sample((300,), 7, 33, 20, bins=5),
    ],
    small=lambda: [
        _spline_sample((2,), 3, 3, 2, input_order=(2, 0, 1), bins=2),
        _spline_sample((2, 2), 2, 3, context=2, boundary="circular", bins=2, bound=2.0),
    ],
    empty=lambda: [
        _spline_sample((0,), 3, 4),
        _spline_sample((2, 0), 3),
        _spline_sample((0,), 2, 3, context=2),
    ],
    bad=_bad_spline,
    bijection=True,
)

CASES = [AFFINE_AUTOREGRESSIVE_INVERSE, SPLINE_AUTOREGRESSIVE_INVERSE]

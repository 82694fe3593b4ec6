"""Cases of affine_coupling."""

from __future__ import annotations

import functools
import itertools
from typing import Any, get_args

import torch

from flowkernels import ops
from flowkernels.ops import reference
from flowkernels.ops.affine_coupling import Layout, Order, Reduction, ScaleFn

from .case import Bad, Case, Sample

SCALE_FNS, LAYOUTS, ORDERS = get_args(ScaleFn), get_args(Layout), get_args(Order)
REDUCTIONS = get_args(Reduction)
# Reversed, too, their dimensions cannot be merged to three.
EMPTY_VIEWS = [(2, 2, 0, 3, 2), (2, 2, 3, 2, 0), (0, 2, 3, 4, 2), (0, 0, 0, 0, 0)]


def _sample(shape: tuple[int, ...], coupled: int | None = None, **options: Any) -> Sample:
    g = torch.Generator().manual_seed(sum(shape))
    dim = options.get("dim", 1) % len(shape)
    coupled = shape[dim] if coupled is None else coupled
    x = torch.randn(shape, dtype=torch.float64, generator=g)
    of_params = (*shape[:dim], 2 * coupled, *shape[dim + 1 :])
    params = torch.randn(of_params, dtype=torch.float64, generator=g)
    label = ", ".join(f"{k}={v}" for k, v in {"shape": shape, **options}.items())
    return Sample(label, (x, params), options)


def _options() -> list[dict[str, object]]:
    """Every formula; where its operands lie, by turns."""
    return [
        {"scale_fn": f, "layout": LAYOUTS[n % 4], "order": o, "inverse": i}
        for n, (f, o, i) in enumerate(itertools.product(SCALE_FNS, ORDERS, (False, True)))
    ]


def _over_channels() -> list[Sample]:
    """Channels along other dimensions, and all that is made of the elements' log-dets."""
    places = [((4, 9, 5), -1), ((2, 3, 4, 3), 2), ((3, 40, 17), 2), ((5, 6), -1), ((3, 4, 7), 1)]
    return [
        _sample(shape, dim=dim, reduction=r, layout=LAYOUTS[n % 4], inverse=n % 2 == 1)
        for n, ((shape, dim), r) in enumerate(itertools.product(places, REDUCTIONS))
    ]


def _samples() -> list[Sample]:
    every_option = [_sample((3, 5, 3), **o) for o in _options()]
    every_option += [
        _sample((3, 5, 3), layout=layout, order=o, inverse=i, reduction="none")
        for layout, o, i in itertools.product(LAYOUTS, ORDERS, (False, True))
    ]
    every_option += [
        _sample((6, 5), scale_fn=f, gain=g, bound=0.8, inverse=i)
        for f, g, i in (("atan", 1.9, False), ("tanh", 0.4, True), ("floored_sigmoid", 2.5, True))
    ]
    every_option += [_sample((2, 1100, 3), reduction="none"), *_over_channels()]
    flat = [(1, 1), (7, 3), (65, 6), (2, 131), (3, 1029)]
    deep = [(2, 3, 5, 7), (5, 2, 33), (1, 40, 41, 43), (33, 17, 2, 2), (2, 3, 2, 3, 5)]
    sizes: list[tuple[int, ...]] = [*flat, *deep]
    return every_option + [_sample(s) for s in sizes] + [_sample((4, 9), inverse=True, bound=0.7)]


def _small() -> list[Sample]:
    corners = [
        {"scale_fn": f, "order": ORDERS[i % 2], "inverse": i % 3 == 0, "layout": LAYOUTS[i % 4]}
        for i, f in enumerate(SCALE_FNS)
    ]
    places = [
        _sample((2, 3, 2), dim=-1, reduction="dim", inverse=True),
        _sample((2, 2, 3, 2), dim=2, reduction="none", layout="interleaved"),
        _sample((2, 3), scale_fn="atan", bound=0.8, gain=1.7),
    ]
    return [_sample((2, 3), **corners[0]), *(_sample((2, 2, 2), **o) for o in corners[1:]), *places]


def _bad() -> list[Bad]:
    x, p = torch.randn(2, 3), torch.randn(2, 6)
    f = ops.affine_coupling

    def case(label: str, call: object, error: type[Exception], *mentions: str) -> Bad:
        return Bad(label, call, error, ("affine_coupling", *mentions))  # type: ignore[arg-type]

    return [
        case("channels", lambda: f(x, p[:, :4]), ValueError, "`params`", "(2, 4)"),
        case("batch", lambda: f(x, p[:1]), ValueError, "`params`", "[1, 6]"),
        case(
            "space", lambda: f(x[..., None], p[..., None].expand(-1, -1, 2)), ValueError, "`params`"
        ),
        case("rank", lambda: f(x[0], p[0]), ValueError, "`x`", "[3]"),
        case("integers", lambda: f(x.long(), p), TypeError, "`x`", "Long"),
        case("complex", lambda: f(x, p.to(torch.complex64)), TypeError, "`params`", "Complex"),
        case("dtypes", lambda: f(x, p.double()), TypeError, "`params`", "Double"),
        case("device", lambda: f(x, p.to("meta")), (ValueError), "`params`", "meta"),
        case("not a tensor", lambda: f([1.0], p), TypeError, "`x`", "list"),  # type: ignore[arg-type]
        case("scale_fn", lambda: f(x, p, scale_fn="relu"), ValueError, "`scale_fn`", "relu"),  # type: ignore[arg-type]
        case("layout", lambda: f(x, p, layout="both"), ValueError, "`layout`", "both"),  # type: ignore[arg-type]
        case("order", lambda: f(x, p, order="none"), ValueError, "`order`", "none"),  # type: ignore[arg-type]
        case("nan bound", lambda: f(x, p, bound=float("nan")), ValueError, "`bound`", "nan"),
        case("zero bound", lambda: f(x, p, bound=0.0), ValueError, "`bound`", "0"),
        case("infinite bound", lambda: f(x, p, bound=float("inf")), ValueError, "`bound`", "inf"),
        case("zero gain", lambda: f(x, p, gain=0.0), ValueError, "`gain`", "0"),
        case("nan gain", lambda: f(x, p, gain=float("nan")), ValueError, "`gain`", "nan"),
        case("reduction", lambda: f(x, p, reduction="sum"), ValueError, "`reduction`", "dim"),  # type: ignore[arg-type]
        case("batch as dim", lambda: f(x, p, dim=0), ValueError, "`dim`", "(2, 3)", "0"),
        case("no dim", lambda: f(x, p, dim=2), ValueError, "`dim`", "(2, 3)", "2"),
        case("half a dim", lambda: f(x, p, dim=1.5), TypeError, "`dim`", "1.5"),  # type: ignore[arg-type]
        case("positions", lambda: f(x[:, None], p[:, :, None], dim=-1), ValueError, "`params`"),
        case("last", lambda: f(x[:, None], x[:, None], dim=-1), ValueError, "2 x 3", "(2, 1, 3)"),
    ]


AFFINE_COUPLING = Case(
    op="affine_coupling",
    call=ops.affine_coupling,
    reference=reference.affine_coupling,
    samples=_samples,
    small=_small,
    empty=lambda: [
        *(_sample(s) for s in ((0, 3), (0, 2, 4, 4), (2, 0), (2, 3, 0), *EMPTY_VIEWS)),
        *(_sample(s, dim=-1, reduction=r) for s in EMPTY_VIEWS[:3] for r in REDUCTIONS[1:]),
    ],
    bad=_bad,
    bijection=True,
)


def _alternating() -> list[Sample]:
    """Every other channel of odd and even numbers of them, short rows, long ones and images."""
    shapes = ((9, 5), (33, 6), (3, 8, 3, 5), (2, 7, 2, 3), (2, 1403), (40, 64), (5, 1))
    samples = []
    for n, (shape, even, inverse) in enumerate(itertools.product(shapes, (True, False), (0, 1))):
        options = {"transform": "even" if even else "odd", "inverse": bool(inverse)}
        coupled = (shape[1] + even) // 2
        samples.append(_sample(shape, coupled, layout=LAYOUTS[n % 4], **options))
    return [
        *samples,
        _sample((40, 6), 3, reduction="none", transform="odd"),
        _sample((3, 4, 7), 4, dim=-1, reduction="none", transform="even"),
        _sample((3, 4, 7), 3, dim=-1, reduction="dim", transform="odd", inverse=True),
    ]


def _split_samples() -> list[Sample]:
    shapes = (((9, 5), 2), ((3, 8, 3, 5), 4), ((2, 700), 301), ((40, 6), 6))
    return [
        *_alternating(),
        *(
            _sample(shape, coupled, transform=t, inverse=i, layout=LAYOUTS[n % 4])
            for n, ((shape, coupled), t, i) in enumerate(
                itertools.product(shapes, ("first", "second"), (False, True))
            )
        ),
        _sample((3, 8, 3, 5), 4, reduction="none"),
        _sample((2, 700), 301, reduction="none", transform="first", inverse=True),
        _sample((3, 4, 7), 3, dim=-1, reduction="none"),
        _sample((3, 4, 7), 3, dim=-1, reduction="dim", transform="first", inverse=True),
        _sample((3, 4, 7, 2), 3, dim=2, layout="interleaved"),
    ]


def _split_bad() -> list[Bad]:
    x, p = torch.randn(2, 3), torch.randn(2, 4)
    f = functools.partial(ops.affine_coupling_split, x)
    return [
        Bad("too many", lambda: f(torch.randn(2, 8)), ValueError, ("`params`", "[2, 8]")),
        Bad("odd", lambda: f(torch.randn(2, 3)), ValueError, ("`params`", "[2, 3]")),
        Bad("transform", lambda: f(p, transform="third"), ValueError, ("`transform`", "third")),
        Bad("odd channels", lambda: f(p, transform="odd"), ValueError, ("`params`", "1", "odd")),
        Bad(
            "even channels",
            lambda: f(torch.randn(2, 2), transform="even"),
            ValueError,
            ("`params`", "2", "even"),
        ),
    ]


AFFINE_COUPLING_SPLIT = Case(
    op="affine_coupling",
    call=ops.affine_coupling_split,
    reference=reference.affine_coupling_split,
    name="affine_coupling_split",
    samples=_split_samples,
    small=lambda: [
        _sample((2, 3), 1, transform="first"),
        _sample((2, 3, 2), 2, inverse=True),
        _sample((2, 2, 3), 1, dim=-1, reduction="none", transform="first"),
        _sample((2, 3), 2, transform="even", inverse=True),
        _sample((2, 3, 2), 1, transform="odd", layout="interleaved_scale_shift"),
    ],
    empty=lambda: [
        _sample((0, 3), 1),
        _sample((0, 3), 2, transform="even"),
        _sample((3, 1), 0, transform="odd"),
        _sample((3, 0), 0, transform="even"),
        _sample((2, 3, 0), 1, transform="odd"),
        _sample((3, 4), 0),
        *(_sample(s, s[1] // 2) for s in EMPTY_VIEWS),
    ],
    bad=_split_bad,
    bijection=True,
)

CASES = [AFFINE_COUPLING, AFFINE_COUPLING_SPLIT]

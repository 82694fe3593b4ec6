"""Cases of rational_quadratic_spline."""

from __future__ import annotations

import functools
import itertools
from typing import Any, get_args

import torch

from flowkernels import ops
from flowkernels.ops import reference
from flowkernels.ops.composite.rational_quadratic_spline import parameter_count
from flowkernels.ops.rational_quadratic_spline import Boundary

from .affine_coupling import EMPTY_VIEWS
from .case import Bad, Case, Sample

BOUNDARIES = get_args(Boundary)
REDUCTIONS = ("row", "none")


def _sample(shape: tuple[int, ...], moved: int | None = None, **options: Any) -> Sample:
    g = torch.Generator().manual_seed(sum(shape))
    dim = options.get("dim", 1) % len(shape)
    moved = shape[dim] if moved is None else moved
    parts = parameter_count(options.get("bins", 8), options.get("boundary", "linear"))
    bound = options.get("bound", 3.0)
    # Some points lie outside of the interval; the ends belong to it.
    x = 0.6 * bound * torch.randn(shape, dtype=torch.float64, generator=g)
    if x.numel() > 12:
        x.view(-1)[1:3] = x.new_tensor([bound, -bound])
    # Of bins so steep as whole normal numbers make them the reference's own errors are larger.
    of_params = (*shape[:dim], parts * moved, *shape[dim + 1 :])
    params = 0.4 * torch.randn(of_params, dtype=torch.float64, generator=g)
    label = ", ".join(f"{k}={v}" for k, v in {"shape": shape, **options}.items())
    return Sample(label, (x, params), options)


def _samples() -> list[Sample]:
    # Every pair of a boundary, a convention and a direction; log-dets summed or not by turns.
    every_option = [
        _sample((3, 5, 3), boundary=b, convention=c, inverse=i, reduction=REDUCTIONS[n % 2], bins=4)
        for n, (b, c, i) in enumerate(
            itertools.product(BOUNDARIES, ("nflows", "zuko"), (False, True))
        )
    ]
    every_option.append(_sample((3, 5, 3), convention="normflows", bins=4))
    flat = [(1, 1), (65, 6), (3, 1029)]
    deep = [(2, 3, 5, 7), (1, 4, 41, 43), (2, 3, 2, 3, 5)]
    sizes: list[tuple[int, ...]] = [*flat, *deep]
    # In both directions so few and so many that a GPU keeps their weights in different memory.
    bins = [
        _sample((9, 4), bins=n, boundary=b, inverse=i, min_width=1e-4, min_height=2e-4)
        for n, b, i in (
            (1, "circular", False),
            (2, "linear", True),
            (3, "none", False),
            (10, "linear", True),
            (33, "circular", True),
            (128, "linear", False),
        )
    ]
    numbers = [
        _sample((20, 4), bound=50.0, inverse=True),
        _sample((20, 4), bound=0.25, min_derivative=0.1, min_width=0.0, min_height=0.1),
        _sample((20, 4), scale=0.3, convention="zuko", min_derivative=1e-2),
        _sample((20, 4), scale=0.3, min_width=0.02, inverse=True, reduction="none"),
    ]
    places = [
        _sample((3, 4, 5), dim=-1, reduction="dim", inverse=True),
        _sample((2, 3, 2, 4), dim=2, reduction="dim", bins=4),
        _sample((3, 4, 5), dim=-1, reduction="none", bins=4),
        _sample((3, 2, 5), dim=2, bins=4),
    ]
    return [*every_option, *(_sample(s) for s in sizes), *bins, *numbers, *places]


def _small() -> list[Sample]:
    """Every boundary and convention, some inverted."""
    corners = list(itertools.product(BOUNDARIES, ("nflows", "zuko")))
    return [
        _sample(
            (2, 2) if i % 2 else (2, 2, 2),
            bins=3,
            boundary=b,
            convention=c,
            inverse=i % 3 == 0,
            reduction=REDUCTIONS[i // 2 % 2],
            bound=4.0,
        )
        for i, (b, c) in enumerate(corners)
    ]


def _bad() -> list[Bad]:
    x, p = torch.randn(2, 3), torch.randn(2, 3 * 23)
    f = ops.rational_quadratic_spline

    def case(label: str, call: object, error: type[Exception], *mentions: str) -> Bad:
        return Bad(label, call, error, ("rational_quadratic_spline", *mentions))  # type: ignore[arg-type]

    return [
        case("channels", lambda: f(x, p[:, :46]), ValueError, "`params`", "23 x 3", "(2, 46)"),
        case("bins and params", lambda: f(x, p, bins=9), ValueError, "`params`", "26 x 3"),
        case("batch", lambda: f(x, p[:1]), ValueError, "`params`", "[1, 69]"),
        case("rank", lambda: f(x[0], p[0]), ValueError, "`x`", "[3]"),
        case("integers", lambda: f(x.long(), p), TypeError, "`x`", "Long"),
        case("dtypes", lambda: f(x, p.double()), TypeError, "`params`", "Double"),
        case("device", lambda: f(x, p.to("meta")), ValueError, "`params`", "meta"),
        case("not a tensor", lambda: f([1.0], p), TypeError, "`x`", "list"),  # type: ignore[arg-type]
        case("no bins", lambda: f(x, p, bins=0), ValueError, "`bins`", "1 to 128"),
        case("half a bin", lambda: f(x, p, bins=8.5), TypeError, "`bins`", "8.5"),  # type: ignore[arg-type]
        case("boundary", lambda: f(x, p, boundary="open"), ValueError, "`boundary`", "circular"),  # type: ignore[arg-type]
        case("convention", lambda: f(x, p, convention="tfp"), ValueError, "`convention`", "zuko"),  # type: ignore[arg-type]
        case("reduction", lambda: f(x, p, reduction="sum"), ValueError, "`reduction`", "none"),  # type: ignore[arg-type]
        case("bound", lambda: f(x, p, bound=0.0), ValueError, "`bound`", "0"),
        case("wide bins", lambda: f(x, p, min_width=0.125), ValueError, "`min_width`", "0.125"),
        case("no height", lambda: f(x, p, min_height=-1e-3), ValueError, "`min_height`", "-0.001"),
        case("steep", lambda: f(x, p, min_derivative=1.0), ValueError, "`min_derivative`", "1"),
        case("nan", lambda: f(x, p, min_derivative=float("nan")), ValueError, "`min_derivative`"),
        case("scale", lambda: f(x, p, scale=float("inf")), ValueError, "`scale`", "inf"),
    ]


# Where bins are narrow, the rounding of knots in float64 shows, in the reference as in the op.
ULPS = {torch.float64: 2048.0}

SPLINE = Case(
    op="rational_quadratic_spline",
    call=ops.rational_quadratic_spline,
    reference=reference.rational_quadratic_spline,
    samples=_samples,
    small=_small,
    empty=lambda: [_sample(s) for s in ((0, 3), (0, 2, 4, 4), (2, 0), (2, 3, 0), *EMPTY_VIEWS)],
    bad=_bad,
    bijection=True,
    ulps=ULPS,
)


def _split_samples() -> list[Sample]:
    return [
        _sample(shape, moved, transform=transform, inverse=inverse, reduction=reduction)
        for shape, moved, inverse, reduction in (
            ((9, 5), 2, False, "row"),
            ((3, 8, 3, 5), 4, True, "none"),
            ((2, 300), 101, False, "row"),
            ((40, 6), 6, True, "row"),
        )
        for transform in ("first", "second")
    ] + [
        _sample((9, 5), 3, transform="even"),
        _sample((40, 6), 3, transform="odd", inverse=True),
        _sample((3, 7, 3, 5), 3, transform="odd", reduction="none"),
        _sample((2, 301), 151, transform="even"),
    ]


def _split_bad() -> list[Bad]:
    x, p = torch.randn(2, 3), torch.randn(2, 46)
    f = functools.partial(ops.rational_quadratic_spline_split, x)
    return [
        Bad("too many", lambda: f(torch.randn(2, 92)), ValueError, ("`params`", "[2, 92]")),
        Bad("part", lambda: f(torch.randn(2, 45)), ValueError, ("`params`", "[2, 45]")),
        Bad("transform", lambda: f(p, transform="third"), ValueError, ("`transform`", "third")),
        Bad("odd", lambda: f(p, transform="odd"), ValueError, ("`params`", "1", "odd")),
    ]


SPLINE_SPLIT = Case(
    op="rational_quadratic_spline",
    call=ops.rational_quadratic_spline_split,
    reference=reference.rational_quadratic_spline_split,
    name="rational_quadratic_spline_split",
    samples=_split_samples,
    small=lambda: [
        _sample((2, 3), 1, transform="first", bins=3),
        _sample((2, 3, 2), 2, inverse=True, bins=3, boundary="circular"),
        _sample((2, 2, 3), 1, dim=-1, reduction="dim", bins=3),
        _sample((2, 3), 2, transform="even", bins=2),
    ],
    empty=lambda: [
        _sample((0, 3), 1),
        _sample((3, 4), 0),
        *(_sample(s, s[1] // 2) for s in EMPTY_VIEWS),
    ],
    bad=_split_bad,
    bijection=True,
    ulps=ULPS,
)

CASES = [SPLINE, SPLINE_SPLIT]

"""Cases of identity_split."""

from __future__ import annotations

from typing import Any

import torch

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample


def _sample(shape: tuple[int, ...], coupled: int, transform: str = "second") -> Sample:
    g = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, dtype=torch.float64, generator=g)
    return Sample(f"{shape}, {coupled}", (x,), {"coupled": coupled, "transform": transform})


def _arguments(sample: Sample) -> tuple[Any, ...]:
    return (*sample.leaves().tensors, sample.options["coupled"], sample.options["transform"])


def _bad() -> list[Bad]:
    x = torch.ones(2, 3)
    f: Any = ops.identity_split
    return [
        Bad("rank", lambda: f(x[0], 1), ValueError, ("identity_split", "`x`", "[3]")),
        Bad("many", lambda: f(x, 4), ValueError, ("`coupled`", "3", "4")),
        Bad("negative", lambda: f(x, -1), ValueError, ("`coupled`", "-1")),
        Bad("transform", lambda: f(x, 1, transform="all"), ValueError, ("`transform`", "all")),
        Bad("even", lambda: f(x, 1, transform="even"), ValueError, ("`coupled`", "2", "even", "1")),
        Bad("no tensor", lambda: f([1.0], 1), TypeError, ("`x`", "list")),
    ]


IDENTITY_SPLIT = Case(
    op="identity_split",
    call=ops.identity_split,
    reference=reference.identity_split,
    arguments=_arguments,
    samples=lambda: (
        [
            _sample(shape, coupled, transform)
            for shape, coupled in (((9, 5), 2), ((3, 8, 3, 5), 4), ((2, 700), 301), ((4, 6), 6))
            for transform in ("first", "second")
        ]
        + [_sample((2, 3), 0)]
        + [
            _sample(shape, (shape[1] + even) // 2, "even" if even else "odd")
            for shape in ((9, 5), (3, 8, 3, 5), (2, 1))
            for even in (True, False)
        ]
    ),
    small=lambda: [
        _sample((2, 3), 1),
        _sample((2, 3, 2), 2, "first"),
        _sample((2, 3), 2, "even"),
        _sample((2, 3, 2), 1, "odd"),
    ],
    empty=lambda: [_sample((0, 3), 1), _sample((3, 4, 0), 2), _sample((2, 4, 0, 3, 2), 2)],
    bad=_bad,
    views=True,
)

CASES = [IDENTITY_SPLIT]

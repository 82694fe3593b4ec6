"""Cases of slerp."""

from __future__ import annotations

import torch

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample


def _sample(shape: tuple[int, ...], fractions: tuple[int, ...] = ()) -> Sample:
    g = torch.Generator().manual_seed(sum(shape) + 7)
    a, b = torch.randn(2, *shape, dtype=torch.float64, generator=g)
    t = torch.rand(fractions, dtype=torch.float64, generator=g)
    return Sample(f"shape={shape}, t={fractions}", (a, b, t))


def _samples() -> list[Sample]:
    return [
        _sample((1, 3)),
        _sample((7, 2)),
        _sample((65, 3)),
        _sample((130, 4)),
        _sample((70, 17)),
        _sample((3, 64)),
        _sample((37, 33)),
        _sample((40, 128)),
        _sample((5, 65)),
        _sample((3, 1029)),
        _sample((2, 5000)),
        _sample((5,)),
        _sample((3,), (4,)),
        _sample((2, 3, 5), (4,)),
        _sample((2, 3, 5), (2, 3, 1)),
        _sample((9, 33), (9, 70)),
        _sample((2, 1500), (3,)),
        _sample((2, 3, 2, 6)),
    ]


def _bad() -> list[Bad]:
    a, b = torch.randn(2, 3, 4)
    f = ops.slerp

    def case(label: str, call: object, error: type[Exception], *mentions: str) -> Bad:
        return Bad(label, call, error, ("slerp", *mentions))  # type: ignore[arg-type]

    return [
        case("shapes", lambda: f(a, b[:2], 0.5), ValueError, "`b`", "(2,)"),
        case("no dimension", lambda: f(a[0, 0], b[0, 0], 0.5), ValueError, "`a`", "[]"),
        case("D = 0", lambda: f(a[:, :0], b[:, :0], 0.5), ValueError, "`a`", "[3, 0]"),
        case("t of another batch", lambda: f(a, b, torch.rand(2, 5)), ValueError, "`t`", "(2,)"),
        case("t of a rank", lambda: f(a, b, torch.rand(2, 2, 5)), ValueError, "`t`", "(2, 2)"),
        case("integers", lambda: f(a.long(), b.long(), 0.5), TypeError, "`a`", "Long"),
        case("complex t", lambda: f(a, b, torch.rand(2) * 1j), TypeError, "`t`", "Complex"),
        case("device", lambda: f(a, b.to("meta"), 0.5), ValueError, "`b`", "meta"),
        case("device of t", lambda: f(a, b, torch.rand(2, device="meta")), ValueError, "`t`"),
        case("no tensor", lambda: f([1.0], b, 0.5), TypeError, "`a`", "list"),  # type: ignore[arg-type]
        case("b no tensor", lambda: f(a, 1.0, 0.5), TypeError, "`b`", "float"),  # type: ignore[arg-type]
        case("t no number", lambda: f(a, b, "half"), TypeError, "`t`", "str"),  # type: ignore[arg-type]
    ]


SLERP = Case(
    op="slerp",
    call=ops.slerp,
    reference=reference.slerp,
    samples=_samples,
    small=lambda: [
        _sample((2, 3)),
        _sample((4,), (2,)),
        _sample((1, 2, 2), (1, 2, 2)),
    ],
    empty=lambda: [_sample((0, 3)), _sample((0, 3), (4,)), _sample((2, 3), (0,))],
    bad=_bad,
)

CASES = [SLERP]

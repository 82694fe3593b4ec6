"""Cases of log_det_diagonal and log_det_triangular."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample


def _away_from_zero(shape: tuple[int, ...]) -> Tensor:
    g = torch.Generator().manual_seed(sum(shape))
    sign = torch.randint(0, 2, shape, generator=g).double() * 2 - 1
    return sign * (torch.rand(shape, dtype=torch.float64, generator=g) + 0.3)


def _diagonal(shape: tuple[int, ...], event_ndim: int = 1) -> Sample:
    label = f"{shape}, event_ndim={event_ndim}"
    return Sample(label, (_away_from_zero(shape),), {"event_ndim": event_ndim})


def _triangular(shape: tuple[int, ...]) -> Sample:
    return Sample(str(shape), (_away_from_zero(shape),))


def _diagonal_bad() -> list[Bad]:
    d = torch.ones(2, 3)
    f = ops.log_det_diagonal
    return [
        Bad("many", lambda: f(d, 3), ValueError, ("log_det_diagonal", "`event_ndim`", "3")),
        Bad("negative", lambda: f(d, -1), ValueError, ("`event_ndim`", "-1")),
        Bad("integers", lambda: f(d.int()), TypeError, ("`diag`", "Int")),
        Bad("no tensor", lambda: f(1.0), TypeError, ("`diag`", "float")),  # type: ignore[arg-type]
    ]


LOG_DET_DIAGONAL = Case(
    op="log_det_diagonal",
    call=ops.log_det_diagonal,
    reference=reference.log_det_diagonal,
    samples=lambda: [
        _diagonal((1,)),
        _diagonal((5, 3)),
        _diagonal((700, 2)),
        _diagonal((3, 1030)),
        _diagonal((2, 3, 33), 2),
        _diagonal((4, 5), 0),
        _diagonal((2, 3, 4, 5), 3),
        _diagonal((40, 17)),
        _diagonal((3, 4), 2),
    ],
    small=lambda: [
        _diagonal((2, 3)),
        _diagonal((2, 2, 2), 2),
        _diagonal((2, 3), 0),
        _diagonal((), 0),
    ],
    empty=lambda: [
        *(_diagonal((0, 3), n) for n in range(3)),
        *(_diagonal((3, 0), n) for n in range(3)),
        _diagonal((2, 0, 3), 2),
    ],
    bad=_diagonal_bad,
)

LOG_DET_TRIANGULAR = Case(
    op="log_det_diagonal",
    call=ops.log_det_triangular,
    reference=reference.log_det_triangular,
    name="log_det_triangular",
    samples=lambda: [_triangular((1, 1)), _triangular((3, 4, 4)), _triangular((2, 2, 40, 40))],
    small=lambda: [_triangular((2, 3, 3))],
    empty=lambda: [_triangular((0, 3, 3)), _triangular((2, 0, 0))],
    bad=lambda: [
        Bad("square", lambda: ops.log_det_triangular(torch.ones(2, 3)), ValueError,
            ("log_det_triangular", "`matrix`", "(2, 3)")),
        Bad("rank", lambda: ops.log_det_triangular(torch.ones(3)), ValueError, ("`matrix`",)),
        Bad("no tensor", lambda: ops.log_det_triangular(None), TypeError, ("`matrix`",)),  # type: ignore[arg-type]
    ],
)  # fmt: skip

CASES = [LOG_DET_DIAGONAL, LOG_DET_TRIANGULAR]

"""Case of tangent_normal; the seed is an option, as it takes no gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample

SEED = torch.tensor(0x3141592653589793)


def _sample(shape: tuple[int, ...], dim: int, loc_batch: tuple[int, ...] | None = None) -> Sample:
    loc_batch = shape if loc_batch is None else loc_batch
    g = torch.Generator().manual_seed(dim + len(shape))
    loc = torch.randn(*loc_batch, dim, dtype=torch.float64, generator=g)
    angle = torch.rand(shape, dtype=torch.float64, generator=g) * 3
    return Sample(
        f"{shape} {dim}, loc {loc_batch}",
        (loc / loc.norm(dim=-1, keepdim=True), angle.cos(), angle.sin()),
        {"seed": SEED},
    )


def _samples() -> list[Sample]:
    seeds = _sample((3, 5), 6, (5,))
    seeds.options = {"seed": SEED + torch.arange(3)}
    return [
        _sample((5,), 3),
        _sample((), 4),
        _sample((130,), 33, ()),
        _sample((3, 70), 9, (70,)),
        _sample((2, 3, 4), 7, (3, 1)),
        _sample((2,), 2, (1,)),
        *(_sample((2,), p) for p in (11, 14, 18, 32, 50)),  # parts of a run of 32 numbers
        _sample((3,), 1030),
        seeds,
    ]


def _bad() -> list[Bad]:
    loc, cosine = torch.eye(3)[:2], torch.ones(4, 2)

    def bad(label: str, error: type[Exception], *words: str, **changed: Any) -> Bad:
        given = {"loc": loc, "cosine": cosine, "sine": cosine, "seed": SEED, **changed}
        return Bad(label, lambda: ops.tangent_normal(**given), error, ("tangent_normal", *words))

    integers: Tensor = torch.ones(4, 2, dtype=torch.int32)
    return [
        bad("one coordinate", ValueError, "`loc`", "[2, 1]", loc=loc[:, :1]),
        bad("loc batch", ValueError, "`loc`", "[3]", loc=torch.eye(3)),
        bad("sine shape", ValueError, "`sine`", "[2]", sine=cosine[0]),
        bad("precision", TypeError, "`cosine`", "Double", cosine=cosine.double()),
        bad("integers", TypeError, "`sine`", "Int", sine=integers),
        bad("seed dtype", TypeError, "`seed`", "Float", seed=torch.tensor(1.0)),
        bad("seed shape", ValueError, "`seed`", "[3]", seed=torch.arange(3)),
        bad("device", ValueError, "`cosine`", "meta", cosine=cosine.to("meta")),
        bad("seed device", ValueError, "`seed`", "meta", seed=SEED.to("meta")),
        bad("no tensor", TypeError, "`loc`", "float", loc=1.0),
    ]


TANGENT_NORMAL = Case(
    op="tangent_normal",
    call=ops.tangent_normal,
    reference=reference.tangent_normal,
    samples=_samples,
    small=lambda: [_sample((3,), 4), _sample((2, 3), 3, (3,))],
    empty=lambda: [_sample((0,), 4), _sample((2, 0), 3, ())],
    bad=_bad,
    constants=("seed",),
)

CASES = [TANGENT_NORMAL]

"""Cases of vmf_log_prob and stereographic_vmf_log_prob."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from .bessel import RADIAL_CASES
from .case import Bad, Case, Sample


def _normal(*shape: int) -> Tensor:
    g = torch.Generator().manual_seed(sum(shape) + 1)
    return torch.randn(shape, dtype=torch.float64, generator=g)


def _sample(
    batch: tuple[int, ...],
    dim: int,
    loc_batch: tuple[int, ...] | None = None,
    kappa_batch: tuple[int, ...] | None = None,
    *,
    latent: bool,
    scale: float = 1.0,
) -> Sample:
    loc_batch = batch if loc_batch is None else loc_batch
    kappa_batch = batch if kappa_batch is None else kappa_batch
    x, loc = _normal(*batch, dim), _normal(*loc_batch, dim)
    x = x[..., :-1] * scale if latent else x / x.norm(dim=-1, keepdim=True)
    loc = loc / loc.norm(dim=-1, keepdim=True)
    kappa = dim * (0.3 + _normal(*kappa_batch).abs())
    label = f"{batch} {dim}, loc {loc_batch}, concentration {kappa_batch}"
    return Sample(label, (x, loc, kappa))


def _samples(latent: bool) -> list[Sample]:
    return [
        _sample((5,), 3, latent=latent),
        _sample((), 4, latent=latent),
        _sample((130,), 33, (), (), latent=latent),
        _sample((2, 70), 9, (70,), (2, 1), latent=latent),
        _sample((), 7, (3, 2), (2,), latent=latent),
        _sample((2, 3), 1029, (), (3,), latent=latent),
        _sample((4,), 785, latent=latent, scale=0.02),
        _sample((3,), 2, (), latent=latent),
        # Long rows that start anywhere in 16 bytes, and rows of several tiles.
        _sample((37,), 101, (), latent=latent),
        _sample((3, 6), 67, (6,), (), latent=latent),
        _sample((3,), 4201, latent=latent, scale=0.01),
    ]


def _small(latent: bool) -> list[Sample]:
    return [_sample((3,), 4, latent=latent), _sample((2, 2), 3, (), (2, 1), latent=latent)]


def _bad(name: str, point: str, function: Callable[..., Tensor], latent: bool) -> list[Bad]:
    dim = 3
    x = torch.ones(4, dim - 1 if latent else dim)
    loc, k = torch.ones(4, dim), torch.ones(4)
    other: Any = 1.0

    def bad(label: str, call: Callable[[], Any], error: type[Exception], *words: str) -> Bad:
        return Bad(label, call, error, (name, *words))

    return [
        bad("negative", lambda: function(x, loc, -k), ValueError, "`concentration`", "-1"),
        bad("negative number", lambda: function(x, loc, -2.0), ValueError, "`concentration`", "-2"),
        bad("loc size", lambda: function(x, loc[:, 1:], k), ValueError, "`loc`", "[4, 2]"),
        bad("loc batch", lambda: function(x, loc[:3], k), ValueError, "`loc`", "[3]"),
        bad("kappa batch", lambda: function(x, loc, k[:3]), ValueError, "`concentration`", "[3]"),
        bad("dtype", lambda: function(x, loc.double(), k), TypeError, "`loc`", "Double"),
        bad(
            "kappa dtype", lambda: function(x, loc, k.long()), TypeError, "`concentration`", "Long"
        ),
        bad("device", lambda: function(x, loc.to("meta"), k), ValueError, "`loc`", "meta"),
        bad(
            "kappa device",
            lambda: function(x, loc, k.to("meta")),
            ValueError,
            "`concentration`",
            "meta",
        ),
        bad("integers", lambda: function(x.int(), loc, k), TypeError, f"`{point}`", "Int"),
        bad("scalar", lambda: function(k[0], loc, k), ValueError, f"`{point}`", "[]"),
        bad("no tensor", lambda: function(other, loc, k), TypeError, f"`{point}`", "float"),
        bad("loc no tensor", lambda: function(x, other, k), TypeError, "`loc`", "float"),
    ]


def _case(name: str, point: str, latent: bool) -> Case:
    public, plain = getattr(ops, name), getattr(reference, name)
    return Case(
        op=name,
        call=public,
        reference=plain,
        samples=lambda: _samples(latent),
        small=lambda: _small(latent),
        empty=lambda: [_sample((0,), 4, latent=latent), _sample((2, 0), 3, (), (), latent=latent)],
        bad=lambda: _bad(name, point, public, latent),
    )


VMF_CASES = [
    _case("vmf_log_prob", "x", latent=False),
    _case("stereographic_vmf_log_prob", "z", latent=True),
]

CASES = [*RADIAL_CASES, *VMF_CASES]

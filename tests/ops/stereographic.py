"""Cases of stereographic and stereographic_inverse."""

from __future__ import annotations

import torch

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample

SHAPES = [(1, 1), (7, 2), (65, 3), (130, 4), (70, 17), (3, 48), (5, 49), (3, 1029), (2, 5000), (5,),
          (2, 3, 5), (2, 3, 2, 6)]  # fmt: skip


def _plane(shape: tuple[int, ...], scale: float = 1.0) -> Sample:
    g = torch.Generator().manual_seed(sum(shape))
    z = torch.randn(shape, dtype=torch.float64, generator=g) * scale / shape[-1] ** 0.5
    return Sample(f"shape={shape}, scale={scale}", (z,))


def _sphere(shape: tuple[int, ...], scale: float = 1.0, length: float = 1.25) -> Sample:
    """Points of S^d off the sphere by a factor: only their direction counts."""
    z = _plane(shape, scale).tensors[0]
    return Sample(f"shape={shape}, scale={scale}", (length * reference.stereographic(z)[0],))


def _bad(name: str, argument: str, least: int) -> list[Bad]:
    f = getattr(ops, name)
    x = torch.randn(3, 4)
    few = x[:, : least - 1]
    return [
        Bad("too few", lambda: f(few), ValueError, (name, f"`{argument}`", f"[3, {least - 1}]")),
        Bad("no dimension", lambda: f(x[0, 0]), ValueError, (name, f"`{argument}`", "[]")),
        Bad("integers", lambda: f(x.long()), TypeError, (name, f"`{argument}`", "Long")),
        Bad("complex", lambda: f(x * 1j), TypeError, (name, f"`{argument}`", "Complex")),
        Bad("no tensor", lambda: f([1.0, 2.0]), TypeError, (name, f"`{argument}`", "list")),
    ]


STEREOGRAPHIC = Case(
    op="stereographic",
    call=ops.stereographic,
    reference=reference.stereographic,
    samples=lambda: [*(_plane(s) for s in SHAPES), _plane((9, 3), 200.0), _plane((9, 99), 1e-3)],
    small=lambda: [_plane((2, 3)), _plane((3,), 5.0), _plane((2, 2, 2), 0.2)],
    empty=lambda: [_plane((0, 3)), _plane((2, 0, 3))],
    bad=lambda: _bad("stereographic", "z", 1),
    bijection=True,
)

STEREOGRAPHIC_INVERSE = Case(
    op="stereographic_inverse",
    call=ops.stereographic_inverse,
    reference=reference.stereographic_inverse,
    samples=lambda: [*(_sphere(s) for s in SHAPES), _sphere((9, 3), 4.0), _sphere((9, 99), 0.1)],
    small=lambda: [_sphere((2, 3), length=1), _sphere((3,), 2.0, 1), _sphere((2, 2, 2), 0.2, 1)],
    empty=lambda: [_sphere((0, 3)), _sphere((2, 0, 3))],
    bad=lambda: _bad("stereographic_inverse", "s", 2),
    bijection=True,
)

CASES = [STEREOGRAPHIC, STEREOGRAPHIC_INVERSE]

"""The half that a coupling keeps, in plain torch."""

from __future__ import annotations

from torch import Tensor


def identity_split(x: Tensor, coupled: int, *, transform: str = "second") -> tuple[Tensor, Tensor]:
    """(x[:, :-coupled] or x[:, coupled:], x), both views of x."""
    start = coupled if transform == "first" else 0
    return x.narrow(1, start, x.shape[1] - coupled), x.view_as(x)

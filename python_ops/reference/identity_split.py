"""The half that a coupling keeps, by definition."""

from __future__ import annotations

from torch import Tensor


def identity_split(x: Tensor, coupled: int, *, transform: str = "second") -> tuple[Tensor, Tensor]:
    """(x[:, :C - coupled] or x[:, coupled:], x)."""
    return x[:, coupled:] if transform == "first" else x[:, : x.shape[1] - coupled], x.view_as(x)

"""The channels that a coupling keeps, by definition."""

from __future__ import annotations

from torch import Tensor

from ._channels import places


def identity_split(x: Tensor, coupled: int, *, transform: str = "second") -> tuple[Tensor, Tensor]:
    """(the channels of x that a coupling of `coupled` others keeps, x)."""
    _, kept = places(x.shape[1], coupled, transform)
    return x[:, kept], x.view_as(x)

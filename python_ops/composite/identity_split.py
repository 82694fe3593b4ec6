"""A coupling's channels and the others, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def split_channels(x: Tensor, coupled: int, transform: str) -> tuple[Tensor, Tensor]:
    """The channels that a coupling maps, and the others; views of x."""
    kept = x.shape[1] - coupled
    match transform:
        case "first":
            return x[:, :coupled], x[:, coupled:]
        case "second":
            return x[:, kept:], x[:, :kept]
        case "even":
            return x[:, 0::2], x[:, 1::2]
        case "odd":
            return x[:, 1::2], x[:, 0::2]
    raise ValueError(f"unknown transform {transform!r}")


def join_channels(mapped: Tensor, kept: Tensor, transform: str) -> Tensor:
    """`split_channels` undone."""
    match transform:
        case "first":
            return torch.cat([mapped, kept], 1)
        case "second":
            return torch.cat([kept, mapped], 1)
    even, odd = (mapped, kept) if transform == "even" else (kept, mapped)
    # Of an odd number of channels the last is an even one.
    pairs = odd.shape[1]
    both = torch.stack([even[:, :pairs], odd], 2).flatten(1, 2)
    return both if even.shape[1] == pairs else torch.cat([both, even[:, pairs:]], 1)


def identity_split(x: Tensor, coupled: int, *, transform: str = "second") -> tuple[Tensor, Tensor]:
    """(the channels that a coupling keeps, x), both views of x."""
    return split_channels(x, coupled, transform)[1], x.view_as(x)

"""Stereographic projection R^d <-> S^d, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def stereographic(z: Tensor) -> tuple[Tensor, Tensor]:
    """s = [2 z, |z|^2 - 1] / (1 + |z|^2) and log det = d log(2 / (1 + |z|^2))."""
    square = z.square().sum(-1, keepdim=True)
    s = torch.cat([2 * z, square - 1], dim=-1) / (1 + square)
    return s, z.shape[-1] * (2 / (1 + square)).log().squeeze(-1)


def stereographic_inverse(s: Tensor) -> tuple[Tensor, Tensor]:
    """z = h / (N - l) for s = [h, l] of length N, and log det = d log((1 + |z|^2) / 2)."""
    head, last = s[..., :-1], s[..., -1:]
    square = head.square().sum(-1, keepdim=True)
    length = (square + last.square()).sqrt()
    # N - l = |h|^2 / (N + l): the form that does not cancel.
    z = torch.where(last > 0, head * (length + last) / square, head / (length - last))
    return z, z.shape[-1] * ((1 + z.square().sum(-1)) / 2).log()

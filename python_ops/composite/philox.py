"""Random numbers from a counter, in plain torch: csrc/math/philox.h word for word.

Philox4x32-10: Salmon, Moraes, Dror & Shaw, Parallel Random Numbers: As Easy as
1, 2, 3 (SC 2011). Words are held in int64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
DIRECTION, COSINE = 0, 1  # the last word of the counter: what the numbers are for


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: Tensor) -> tuple[Tensor, ...]:
    """Four words for each counter of four words, under keys of 64 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _WORD, (key >> 32) & _WORD
    for _ in range(10):
        high0, low0 = _product(c0, 0xD2511F53)
        high1, low1 = _product(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


def _product(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower word of a product; overflow of int64 wraps around."""
    p = a * b
    return (p >> 32) & _WORD, p & _WORD


def row_keys(seed: Tensor, batch: torch.Size | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The key and the counter of every row of a batch whose leading dimensions are the seed's."""
    below = batch[seed.ndim :]
    counter = torch.arange(math.prod(below), device=seed.device).reshape(below)
    return seed.reshape((*seed.shape, *[1] * len(below))).expand(batch), counter.expand(batch)


def uniform(high: Tensor, low: Tensor) -> Tensor:
    """Odd multiples of 2^-53 in (0, 1)."""
    return ((high >> 6).double() * 2**27 + 2 * (low >> 6).double() + 1) * 2.0**-53


def normal(seed: Tensor, batch: torch.Size | tuple[int, ...], n: int) -> Tensor:
    """n normal numbers, float64, for every row, by Box and Muller's transform."""
    key, row = row_keys(seed, batch)
    runs = -(-n // 32)
    j = torch.arange(runs * 8, device=seed.device).reshape(*[1] * len(batch), runs, 8)
    key, row = key[..., None, None], row[..., None, None]
    stream = torch.full_like(j, DIRECTION)
    words = philox((j, row & _WORD, row >> 32, stream), key)
    radius, angle = torch.stack(words[:2], -1), torch.stack(words[2:], -1)
    signed = torch.where(angle >> 31 == 1, angle - (1 << 32), angle)
    length = (-2 * torch.log((2 * (radius >> 9).double() + 1) * 2.0**-24)).sqrt()
    turn = (2 * (signed >> 9).double() + 1) * 2.0**-23 * math.pi
    pairs = torch.stack((length * turn.cos(), length * turn.sin()), -3)
    return pairs.reshape(*batch, runs * 32)[..., :n]

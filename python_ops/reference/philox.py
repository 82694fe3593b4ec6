"""Random numbers from a counter, in NumPy's unsigned integers.

Philox4x32-10: Salmon, Moraes, Dror & Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
DIRECTION, COSINE = 0, 1  # the last word of the counter: what the numbers are for


def _words(counter: Sequence[Words], key: Words) -> list[Words]:
    c, k = list(counter), [key & _LOW, key >> _HALF]
    for _ in range(10):
        one, two = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (two >> _HALF) ^ c[1] ^ k[0],
            two & _LOW,
            (one >> _HALF) ^ c[3] ^ k[1],
            one & _LOW,
        ]
        k = [(k[0] + np.uint64(0x9E3779B9)) & _LOW, (k[1] + np.uint64(0xBB67AE85)) & _LOW]
    return list(np.broadcast_arrays(*c))


def philox(counter: Sequence[Tensor], key: Tensor) -> tuple[Tensor, ...]:
    """Four words for each counter of four words, under keys of 64 bits; all held in int64."""
    *c, k = (np.asarray(t.cpu().numpy().astype(np.int64)).view(np.uint64) for t in (*counter, key))
    return tuple(torch.from_numpy(word.astype(np.int64)) for word in _words(c, k))


def uniform(high: Tensor, low: Tensor) -> Tensor:
    """The odd multiples of 2^-53 in (0, 1) that 26 bits of each word choose."""
    return ((high >> 6).double() * 2**26 + (low >> 6).double() + 0.5) * 2.0**-52


def normal(seed: Tensor, batch: Sequence[int], n: int) -> Tensor:
    """n normal numbers for every row, by Box and Muller's transform, in float64.

    A run of 32 numbers takes the words of 8 counters: the first two words of each make two
    lengths, the others two angles; first the cosines of a run, then the sines, in pairs.
    """
    # As a list: a transform of torch.func would wrap the result of any op.
    keys = np.array(seed.tolist(), dtype=np.int64).reshape(-1, 1, 1).view(np.uint64)
    rows, runs = math.prod(batch[seed.ndim :]), -(-n // 32)
    row = np.arange(rows, dtype=np.uint64)[None, :, None]
    block = np.arange(8 * runs, dtype=np.uint64)[None, None, :]
    words = _words((block, row, np.zeros_like(block), np.full_like(block, DIRECTION)), keys)
    short, turn = (np.stack(pair, -1).astype(np.int64) for pair in (words[:2], words[2:]))
    length = np.sqrt(-2 * np.log(((short >> 9) + 0.5) * 2.0**-23))
    signed = np.where(turn >= 2**31, turn - 2**32, turn)
    angle = ((signed >> 9) + 0.5) * 2.0**-22 * np.pi
    shape = (len(keys), rows, runs, 8, 2)
    pairs = [(length * f(angle)).reshape(shape) for f in (np.cos, np.sin)]
    numbers = np.stack(pairs, -3).reshape(*batch, 32 * runs)[..., :n]
    return torch.from_numpy(numbers.copy()).to(seed.device)

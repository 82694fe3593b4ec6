"""Random numbers from a counter in Triton: csrc/math/philox.h word for word.

Triton's own Philox4x32-10 makes the words; what is made of them is ours, so that a seed gives
the same numbers on every device.  The words and the uniform numbers are the same to the last bit,
the normal numbers to the rounding of log, sqrt, sin and cos.
"""

import triton
import triton.language as tl

from .elementary import sincos, sqrt
from .engine.tiles import positions

# What separates the uses of one key: the last word of the counter.
DIRECTION = tl.constexpr(0)
COSINE = tl.constexpr(1)


@triton.jit
def row_keys(seeds, row, there, rows_per_seed):
    """(key, counter) of some rows: each seed serves `rows_per_seed` of them."""
    return tl.load(seeds + row // rows_per_seed, mask=there, other=0), row % rows_per_seed


@triton.jit
def words(key, number, row, STREAM: tl.constexpr):
    """Four words, uint32, of the counter (number, row, STREAM) under keys of 64 bits."""
    zero = (row & 0).to(tl.uint32)
    low = (row & 0xFFFFFFFF).to(tl.uint32)
    return tl.philox(key, number.to(tl.uint32), low, (row >> 32).to(tl.uint32), zero + STREAM)


@triton.jit
def uniform(high, low):
    """Odd multiples of 2^-53 in (0, 1), float64, of two words."""
    a = (high >> 6).to(tl.float64)
    b = (low >> 6).to(tl.float64)
    return (a * 134217728.0 + (b + b + 1.0)) * 1.1102230246251565e-16


@triton.jit
def box_muller(radius, angle, DTYPE: tl.constexpr):
    """Two independent normal numbers of two words, by 23 bits of the one and 24 of the other."""
    u = ((radius >> 9).to(tl.int32).to(DTYPE) * 2.0 + 1.0) * 5.9604644775390625e-8
    turned = angle.to(tl.int32, bitcast=True) >> 9
    half_turns = (turned.to(DTYPE) * 2.0 + 1.0) * 1.1920928955078125e-7
    length = sqrt(tl.log(u) * -2.0)
    sine, cosine = sincos(half_turns * 3.14159265358979323846)
    return length * cosine, length * sine


@triton.jit
def normal_tile(key, row, k, n, DTYPE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr):
    """Tile k of some rows of n normal numbers, 0 past them; tiles of 2 elements and more.

    Counter j makes the numbers 2 j', 2 j' + 1 (cosines) and 16 + 2 j', 17 + 2 j' (sines) of run
    j // 8 of 32 numbers, j' = j % 8.  A tile of at most 16 is a part of a run's cosines.
    """
    COUNTERS: tl.constexpr = ELEMENTS // 2 if ELEMENTS <= 16 else ELEMENTS // 4
    number = positions(k, COUNTERS)[None, :]
    w0, w1, w2, w3 = words(key[:, None], number, row[:, None], DIRECTION)
    even_cosine, even_sine = box_muller(w0, w2, DTYPE)
    odd_cosine, odd_sine = box_muller(w1, w3, DTYPE)
    value = tl.join(even_cosine, odd_cosine)
    if ELEMENTS > 16:
        value = tl.join(value, tl.join(even_sine, odd_sine))
        value = tl.reshape(value, [LINES, ELEMENTS // 32, 8, 2, 2])
        value = tl.permute(value, [0, 1, 4, 2, 3])
    value = tl.reshape(value, [LINES, ELEMENTS])
    return tl.where(positions(k, ELEMENTS)[None, :] < n, value, 0.0)

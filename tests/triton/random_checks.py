"""Random numbers in Triton beside the plain ones; run by test_interpreted."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from flowkernels.ops.composite import philox as reference
from flowkernels.ops.triton import philox

ROWS = 4
SEEDS = torch.tensor([0, -1, 0x299F31D0A4093822, -(2**63)])
COUNTERS = torch.tensor([0, 2**32 - 1, 2**32 + 5, 2**40 + 3])


@triton.jit
def _words(seeds, counters, out, STREAM: tl.constexpr, ROWS: tl.constexpr, COUNT: tl.constexpr):
    row = tl.arange(0, ROWS)
    number = tl.arange(0, COUNT)
    key, counter = tl.load(seeds + row)[:, None], tl.load(counters + row)[:, None]
    w0, w1, w2, w3 = philox.words(key, number[None, :], counter, STREAM)
    to = out + (row[:, None] * COUNT + number[None, :]) * 4
    tl.store(to, w0.to(tl.int64))
    tl.store(to + 1, w1.to(tl.int64))
    tl.store(to + 2, w2.to(tl.int64))
    tl.store(to + 3, w3.to(tl.int64))


@triton.jit
def _uniform(words, out, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    high, low = tl.load(words + 2 * at).to(tl.uint32), tl.load(words + 2 * at + 1).to(tl.uint32)
    tl.store(out + at, philox.uniform(high, low))


@triton.jit
def _normal(seeds, out, n, count, DTYPE: tl.constexpr, LINES: tl.constexpr, ELEMENTS: tl.constexpr):
    row = tl.arange(0, LINES).to(tl.int64)
    key, counter = philox.row_keys(seeds, row, row < 3, 2)
    for k in range(count):
        value = philox.normal_tile(key, counter, k, n, DTYPE, LINES, ELEMENTS)
        element = k * ELEMENTS + tl.arange(0, ELEMENTS)[None, :]
        mask = (row[:, None] < 3) & (element < n)
        tl.store(out + row[:, None] * n + element, value, mask=mask)


def _reference_words(stream: int, count: int) -> Tensor:
    number = torch.arange(count).expand(ROWS, -1)
    low, high = (COUNTERS & 0xFFFFFFFF)[:, None], (COUNTERS >> 32)[:, None]
    counter = (
        number,
        low.expand_as(number),
        high.expand_as(number),
        torch.full_like(number, stream),
    )
    return torch.stack(reference.philox(counter, SEEDS[:, None]), -1)


@pytest.mark.parametrize("stream", [reference.DIRECTION, reference.COSINE])
def test_words_to_the_last_bit(stream: int) -> None:
    out = torch.empty(ROWS, 8, 4, dtype=torch.int64)
    _words[(1,)](SEEDS, COUNTERS, out, STREAM=stream, ROWS=ROWS, COUNT=8)
    assert torch.equal(out, _reference_words(stream, 8))


def test_uniform_numbers_to_the_last_bit() -> None:
    extremes = torch.tensor([[0, 0], [2**32 - 1, 2**32 - 1]])
    words = torch.cat([extremes, _reference_words(0, 15).reshape(-1, 2)])[:64]
    out = torch.empty(64, dtype=torch.float64)
    _uniform[(1,)](words, out, COUNT=64)
    assert torch.equal(out, reference.uniform(words[:, 0], words[:, 1]))
    assert 0 < out.min() < out.max() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 33, 100, 300])
def test_normal_numbers(n: int, dtype: torch.dtype) -> None:
    """The float64 numbers of the reference, whatever the tiles, to the rounding of `dtype`."""
    seeds = SEEDS[1:3]
    want = reference.normal(seeds, (2, 2), n).reshape(4, n)[:3]
    type_ = tl.float64 if dtype == torch.float64 else tl.float32
    whole = max(2, 1 << (n - 1).bit_length())
    for elements in {whole, max(32, whole // 4)}:
        out = torch.empty(3, n, dtype=dtype)
        count = -(-n // elements)
        _normal[(1,)](seeds, out, n, count, DTYPE=type_, LINES=4, ELEMENTS=elements)
        allowed = 24 * torch.finfo(dtype).eps * want.abs().max()
        assert (out - want).abs().max() <= allowed

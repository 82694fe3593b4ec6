"""log_det_diagonal against sums in float64, in every layout of the rows."""

from __future__ import annotations

import math

import pytest
import torch

from flowkernels import ops


@pytest.mark.parametrize("n", [1, 6, 8, 9, 24, 25, 64, 512, 513, 1024, 1025, 4096, 4097, 20000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_sums_of_all_magnitudes(dtype: torch.dtype, n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    d = torch.randn(70, n, generator=generator, dtype=torch.float64)
    d[3] *= 1e-30
    d[4] *= 1e30
    d = d.to(dtype)
    want = d.double().abs().log().sum(-1)
    scale = d.double().abs().log().abs().sum(-1)
    error = (ops.log_det_diagonal(d).double() - want).abs() / scale
    assert error.max() < (1e-14 if dtype == torch.float64 else 2e-7)


@pytest.mark.parametrize("n", [5, 20, 100, 9000])
def test_powers_of_two_and_numbers_without_a_logarithm(n: int) -> None:
    d = torch.full((6, n), 2.0)
    d[1] = 1.0
    d[2, n // 2] = 0.0
    d[3, n // 2] = float("inf")
    d[4, n // 2] = float("nan")
    d[5] = -0.25
    got = ops.log_det_diagonal(d)
    torch.testing.assert_close(got[0].item(), n * math.log(2), rtol=1e-6, atol=0)
    assert got[1] == 0
    assert got[2] == -math.inf
    assert got[3] == math.inf
    assert got[4].isnan()
    torch.testing.assert_close(got[5].item(), -n * math.log(4), rtol=1e-6, atol=0)

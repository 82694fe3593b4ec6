"""log s and its derivative for raw scales of any size, against 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import mpmath
import pytest
import torch

from flowkernels import ops
from flowkernels.ops.affine_coupling import ScaleFn

BOUND = 1.5
RAW = (0.0, 1e-12, 1e-4, 0.3, 1.0, 1.9, 2.9, 5.0, 19.0, 20.4, 20.6, 30.0, 85.0, 200.0, 740.0, 1e4)

# log s of the raw scale r, as the table of the op's documentation has it.
LOG_S: dict[str, Callable[[Any], Any]] = {
    "exp": lambda r: r,
    "tanh": lambda r: BOUND * mpmath.tanh(r / BOUND),
    "softclip": lambda r: r / (1 + abs(r / BOUND)),
    "atan": lambda r: mpmath.mpf("0.636") * BOUND * mpmath.atan(r / BOUND),
    "sigmoid": lambda r: -mpmath.log1p(mpmath.exp(-r - 2)),
    "inv_sigmoid": lambda r: mpmath.log1p(mpmath.exp(-r - 2)),
    "softplus": lambda r: mpmath.log(min(mpmath.log1p(mpmath.exp(r)) + mpmath.mpf("1e-3"), 3)),
    "floored_sigmoid": lambda r: mpmath.log(1 / (1 + mpmath.exp(-r - 2)) + mpmath.mpf("1e-3")),
    "floored_softplus": lambda r: mpmath.log(mpmath.log1p(mpmath.exp(r)) + mpmath.mpf("1e-3")),
    "shifted_softplus": lambda r: mpmath.log(mpmath.log1p((mpmath.e - 1) * mpmath.exp(r))),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("scale_fn", get_args(ScaleFn))
def test_log_scale(scale_fn: ScaleFn, dtype: torch.dtype) -> None:
    raw = torch.tensor([*RAW, *(-r for r in RAW)], dtype=dtype)
    params = torch.stack([torch.zeros_like(raw), raw], 1).requires_grad_()
    x = torch.ones(len(raw), 1, dtype=dtype)
    _, log_det = ops.affine_coupling(x, params, scale_fn=scale_fn, bound=BOUND)
    (grad,) = torch.autograd.grad(log_det.sum(), params)
    step = 8 * torch.finfo(dtype).eps
    with mpmath.workdps(60):
        for r, got, slope in zip(raw.tolist(), log_det.tolist(), grad[:, 1].tolist(), strict=True):
            want = LOG_S[scale_fn](mpmath.mpf(r))
            assert abs(got - want) <= step * max(1, abs(want)), (r, got, want)
            if want > mpmath.log(torch.finfo(dtype).max):
                continue  # s is infinite, and so is y
            exact = mpmath.diff(LOG_S[scale_fn], mpmath.mpf(r), h=mpmath.mpf("1e-25"))
            assert abs(slope - exact) <= step, (r, slope, exact)


def test_shifted_softplus_of_zero_is_the_identity() -> None:
    x = torch.randn(5, 3, dtype=torch.float64)
    y, log_det = ops.affine_coupling(x, torch.zeros(5, 6).to(x), scale_fn="shifted_softplus")
    torch.testing.assert_close(y, x, rtol=1e-15, atol=0)
    torch.testing.assert_close(log_det, torch.zeros(5).to(x), rtol=0, atol=1e-15)

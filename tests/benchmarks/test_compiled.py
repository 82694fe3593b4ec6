"""The benchmark of compiled flows compares the same flows."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from benchmarks.compiled import FLOWS, FORMULAS
from flowkernels import ops


@pytest.mark.parametrize("name", FLOWS)
def test_formulas_are_those_of_the_ops(name: str) -> None:
    torch.manual_seed(0)
    flow, x = FLOWS[name](5), torch.randn(20, 5)
    want = flow.log_prob(x)
    called: list[str] = []

    def counted(op: str) -> object:
        return lambda *a, **k: called.append(op) or FORMULAS[op](*a, **k)

    with mock.patch.multiple(ops, **{op: counted(op) for op in FORMULAS}):
        got = flow.log_prob(x)
    assert called
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)

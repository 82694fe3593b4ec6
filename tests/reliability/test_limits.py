"""The short form of the campaign `limits`: its trials at sizes that take seconds."""

from __future__ import annotations

import pytest
import torch

from flowkernels.ops._declaration import PUBLIC

from . import limits

BY_ROWS = [name for name, op in PUBLIC.items() if op.inputs.sizes in ("rows", "images")]


@pytest.mark.parametrize("name", PUBLIC)
def test_empty(name: str) -> None:
    limits.empty(name)


@pytest.mark.parametrize("name", BY_ROWS)
def test_rows_of_two(name: str) -> None:
    limits.rows_of_two(name, rows=20_000)


@pytest.mark.parametrize("name", BY_ROWS)
def test_many_rows(name: str) -> None:
    limits.many_rows(name, elements=200_000)


@pytest.mark.parametrize("name", limits.GRADIENTS)
def test_gradients_of_many_rows(name: str) -> None:
    limits.gradients_of_many_rows(name, elements=200_000)


@pytest.mark.parametrize("name", limits.ONE_ROW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_one_row(name: str, dtype: torch.dtype) -> None:
    limits.ONE_ROW[name](limits.row_of(300_000, dtype))


def test_one_wrong_element_is_seen() -> None:
    rows = torch.ones(1000, 6)
    limits.expect_repeated(rows, torch.ones(6), "ones")
    rows[999, 5] = 0
    with pytest.raises(AssertionError, match="ones: not what a slice of it gives"):
        limits.expect_repeated(rows, torch.ones(6), "ones")
    assert "KeyError" in str(limits.attempt("empty", "no_such_op"))

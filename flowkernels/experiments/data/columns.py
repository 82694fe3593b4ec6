"""A table whose columns are divided into those that a flow models and those that are given."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.tables import Array, Rows, read_rows

__all__ = ["TableDataset", "context_names", "load_table_dataset"]

# A column of float32 numbers is refused if they are spaced wider than this part of its deviation.
_COARSEST = 1e-3
_MOST_SHOWN = 30


@dataclass(frozen=True)
class TableDataset:
    """Rows of a table in its own units, the modelled columns first.

    Attributes:
        name: of the file.
        columns: names of all columns, in the file's order.
        modelled: names of the d columns that a flow models.
        context: names of the c columns that are given.
        train, val, test: (n, d + c).
    """

    name: str
    columns: tuple[str, ...]
    modelled: tuple[str, ...]
    context: tuple[str, ...]
    train: Tensor
    val: Tensor
    test: Tensor

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (n, d) and context (n, c) of rows; None without a context."""
        x, context = rows.split([len(self.modelled), len(self.context)], -1)
        return x, context if self.context else None


def context_names(text: str | None) -> tuple[str, ...]:
    """The columns of the setting `context`, separated by commas; a name with a comma is quoted.

    Raises:
        DataError: a name is empty or repeated.

    Example:
        >>> context_names('alcohol, hue,"1,2-diol"')
        ('alcohol', 'hue', '1,2-diol')
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not names or "" in names:
        raise DataError(f"context: expected columns separated by commas, got {text!r}")
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"context: expected different columns, got {repeated[0]!r} twice")
    return names


def load_table_dataset(
    path: str | os.PathLike[str],
    context: str | None = None,
    *,
    val: float = 0.1,
    test: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> TableDataset:
    r"""Read a table for a flow that models p(other columns | context columns).

    Args:
        path: see :func:`flowkernels.experiments.data.tables.load_table`.
        context: names of the columns that are given, separated by commas; numbers from 1 where the
            table has no header.
        val, test: parts of the rows that are held out, if the file has no split. All runs on a
            table hold out the same rows.
        dtype: of the rows.

    Raises:
        DataError: the file cannot be used; a column is unknown, constant, or needs float64; the
            context has all columns. The message names the setting and the column.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
        >>> _ = file.write_text("a,b,c\n" + "\n".join(f"{i},{i * i},{-i}" for i in range(100)))
        >>> table = load_table_dataset(file, "b")
        >>> table.modelled, table.context, table.train.shape
        (('a', 'c'), ('b',), torch.Size([80, 3]))
    """
    rows = read_rows(path, val=val, test=test)
    given = _positions(Path(path), rows.names, context_names(context))
    order = [i for i in range(len(rows.names)) if i not in given] + list(given)
    for column in order:
        _check_column(Path(path), rows, column, column in given, dtype)

    def tensor(part: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(part[:, order])).to(dtype)

    return TableDataset(
        name=Path(path).name,
        columns=rows.names,
        modelled=tuple(rows.names[i] for i in order if i not in given),
        context=tuple(rows.names[i] for i in given),
        train=tensor(rows.train),
        val=tensor(rows.val),
        test=tensor(rows.test),
    )


def _positions(file: Path, names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Where the context's columns are."""
    there = ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")
    for name in wanted:
        if (count := names.count(name)) != 1:
            raise DataError(
                f"context: expected columns of {file}, which has {there}; got {name!r}"
                + (f", the name of {count} columns" if count else "")
            )
    if len(wanted) == len(names):
        raise DataError(
            f"context: expected some of the columns of {file}, got all of them ({there}): none is "
            "left to model"
        )
    return tuple(names.index(name) for name in wanted)


def _check_column(file: Path, rows: Rows, column: int, given: bool, dtype: torch.dtype) -> None:
    values = rows.train[:, column]
    name, scale, largest = rows.names[column], values.std(), np.abs(values).max()
    if scale <= 1e-12 * largest:
        role = "tells nothing as context" if given else "has no density"
        raise DataError(
            f"{file}: column {name!r}: expected values that vary, got {values[0]:g} in all "
            f"{len(values)} training rows: a constant column {role}"
        )
    if torch.finfo(dtype).eps * largest > _COARSEST * scale:
        raise DataError(
            f"{file}: column {name!r}: expected a deviation that {dtype} can resolve, got "
            f"{scale:.3g} around {values.mean():.8g}: subtract an offset, or train with "
            "--precision 64-true"
        )

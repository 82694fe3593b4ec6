"""Numeric tables (UCI-style) from NumPy and CSV files, split and standardised."""

from __future__ import annotations

import csv
import math
import os
import stat
import zipfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowkernels.experiments.data.errors import DataError, short

__all__ = ["SUFFIXES", "Rows", "Table", "load_table", "read_rows"]

Array = npt.NDArray[np.float64]
SUFFIXES = (".csv", ".npy", ".npz")
_SPLITS = ("train", "val", "test")
# Of one array of an archive, which may be packed a thousandfold; of a file, it is the file's size.
_MOST_BYTES = 1 << 32
_LONGEST_LINE = 1 << 20
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?")


@dataclass(frozen=True)
class Rows:
    """Rows of a table as they are in the file.

    Attributes:
        names: of the columns: those of the header, or "1", "2", ...
        train, val, test: (n, d) numbers.
    """

    names: tuple[str, ...]
    train: Array
    val: Array
    test: Array


@dataclass(frozen=True)
class Table:
    """Rows of a table, standardised by the training rows' mean and standard deviation.

    Attributes:
        train, val, test: (n, d) float32.
        mean: (d,) float64, subtracted from the rows.
        scale: (d,) float64, divisor of the rows; log densities of the raw rows are lower by the
            sum of its logs.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    mean: Tensor
    scale: Tensor

    @property
    def dim(self) -> int:
        """d."""
        return self.train.shape[1]


def load_table(
    path: str | os.PathLike[str], *, val: float = 0.1, test: float = 0.1, seed: int = 0
) -> Table:
    r"""Read a table: a row per datum, a column per coordinate.

    ``.npy``: one array (n, d). ``.npz``: arrays ``train``, ``val`` and ``test``, or a single
    array. ``.csv``: comma-separated numbers, with or without a header line.

    Args:
        path: the file.
        val: fraction of the rows for validation, if the file has no split.
        test: fraction of the rows for testing.
        seed: of the shuffle that splits them.

    Raises:
        DataError: the file is missing, damaged or of the wrong kind, contains values that are not
            finite numbers, or has too few rows or a constant column; the message names it.
        ValueError: the fractions are negative or sum to 1 or more.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
        >>> _ = file.write_text("a,b\n" + "\n".join(f"{i},{i * i}" for i in range(100)))
        >>> table = load_table(file)
        >>> table.train.shape, table.val.shape, table.test.shape
        (torch.Size([80, 2]), torch.Size([10, 2]), torch.Size([10, 2]))
    """
    return _standardised(Path(path), read_rows(path, val=val, test=test, seed=seed))


def read_rows(
    path: str | os.PathLike[str], *, val: float = 0.1, test: float = 0.1, seed: int = 0
) -> Rows:
    """Read and split a table without standardising it; arguments and errors of `load_table`."""
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ValueError(f"val and test must be from 0 and below 1 together, got {val} and {test}")
    file = Path(path)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if file.suffix not in readers:
        raise DataError(f"{file}: expected a table in {', '.join(readers)}")
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{file}: expected a file")
        names, parts = readers[file.suffix](file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise DataError(f"{file}: needs more memory than there is") from error
    for name, rows in parts.items():
        _check(file, name, rows, names)
    if len(parts) == 1:
        (whole,) = parts.values()
        parts = _split(whole, val, test, seed)
    if len({rows.shape[1] for rows in parts.values()}) > 1:
        shapes = ", ".join(f"{name} {rows.shape}" for name, rows in parts.items())
        raise DataError(f"{file}: expected as many columns in every split, got {shapes}")
    if len(parts["train"]) < 2:
        raise DataError(f"{file}: expected at least 2 training rows, got {len(parts['train'])}")
    columns = parts["train"].shape[1]
    numbers = {name: rows.astype(np.float64) for name, rows in parts.items()}
    return Rows(names or tuple(str(i + 1) for i in range(columns)), **numbers)


# What a reader gives: the names of the columns, if the file has them, and arrays by name.
Read = tuple[tuple[str, ...], dict[str, Array]]


def _read_npy(file: Path) -> Read:
    try:
        with file.open("rb") as stream:
            _check_announced(str(file), stream, os.fstat(stream.fileno()).st_size)
            stream.seek(0)
            return (), {"array": np.lib.format.read_array(stream, allow_pickle=False)}
    except (OSError, DataError, MemoryError):
        raise
    except Exception as error:  # a crafted header can make the reader raise anything
        raise DataError(f"{file}: expected a NumPy array ({short(error)})") from error


def _read_npz(file: Path) -> Read:
    try:
        with zipfile.ZipFile(file) as archive:
            records = {
                record.filename.removesuffix(".npy"): record for record in archive.infolist()
            }
            if set(records) != set(_SPLITS) and len(records) != 1:
                raise DataError(
                    f"{file}: expected arrays train, val and test, or one array; "
                    f"found {', '.join(list(records)[:10]) or 'none'}"
                )
            arrays = {n: _read_member(file, archive, record) for n, record in records.items()}
            return (), arrays
    except (OSError, DataError, MemoryError):
        raise
    except Exception as error:  # a crafted archive can make the readers raise anything
        raise DataError(f"{file}: expected an archive of NumPy arrays ({short(error)})") from error


def _read_member(file: Path, archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> Array:
    name = f"{file}: {record.filename}"
    if record.file_size > _MOST_BYTES:
        raise DataError(f"{name}: expected at most {_MOST_BYTES} bytes unpacked")
    with archive.open(record) as stream:
        _check_announced(name, stream, record.file_size)
    with archive.open(record) as stream:
        values: Array = np.lib.format.read_array(stream, allow_pickle=False)
        return values


def _check_announced(name: str, stream: IO[bytes], size: int) -> None:
    """Raise unless a NumPy array's header announces as many bytes as the file has.

    NumPy allocates what a header claims before it reads.
    """
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{name}: expected version 1 or 2 of NumPy's format, got {version}")
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    announced = stream.tell() + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and announced != size:
        raise DataError(
            f"{name}: expected {announced} bytes for {dtype} {shape}, found {size}: the file is "
            f"{'truncated' if size < announced else 'longer than its header says'}"
        )


def _read_csv(file: Path) -> Read:
    values, columns = array("d"), 0
    names: tuple[str, ...] = ()
    with file.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.reader(_lines(file, text))
        try:
            for cells in reader:
                if not cells:
                    continue
                numbers = [_number(cell) for cell in cells]
                if not columns and all(number is None for number in numbers):
                    names = tuple(cell.strip() for cell in cells)  # the header line
                    continue
                if None in numbers:
                    column = numbers.index(None)
                    raise DataError(
                        f"{file}: line {reader.line_num}, {_shown(column, names)}: expected a "
                        f"number, got {_found(cells[column])}"
                    )
                columns = columns or len(numbers)
                if len(numbers) != columns or len(names) not in (0, columns):
                    expected = len(names) or columns
                    raise DataError(
                        f"{file}: line {reader.line_num}: expected {expected} columns, "
                        f"got {len(numbers)}"
                    )
                values.extend(number for number in numbers if number is not None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file}: expected text with commas ({short(error)})") from error
    table = np.frombuffer(values, np.float64) if values else np.empty(0)
    return names, {"table": table.reshape(-1, columns) if columns else table.reshape(0, 0)}


def _shown(column: int, names: tuple[str, ...]) -> str:
    """A column in a message: its number, from 1, and its name."""
    number = f"column {column + 1}"
    named = column < len(names) and names[column] != str(column + 1)
    return f"{number} ({names[column]!r})" if named else number


def _found(cell: str) -> str:
    """A cell in a message."""
    missing = cell.strip().lower() in _MISSING
    return f"{cell[:100]!r}" + (": the value is missing" if missing else "")


def _lines(file: Path, text: IO[str]) -> Iterator[str]:
    """The lines of a text, each of bounded length: a reader holds a whole line in memory."""
    number = 0
    while line := text.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise DataError(f"{file}: line {number}: expected at most {_LONGEST_LINE} characters")
        yield line


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _check(file: Path, name: str, rows: Array, names: tuple[str, ...]) -> None:
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "fiub":
        raise DataError(
            f"{file}: {name}: expected numbers of shape (n, d), got {rows.dtype} {rows.shape}"
        )
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"{file}: {name}: row {row + 1}, {_shown(column, names)}: expected a finite number, "
            f"got {_found(str(rows[row, column]))}"
        )


def _split(rows: Array, val: float, test: float, seed: int) -> dict[str, Array]:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).numpy()
    n_val, n_test = round(val * len(rows)), round(test * len(rows))
    held = n_val + n_test
    return {
        "train": rows[order[held:]],
        "val": rows[order[:n_val]],
        "test": rows[order[n_val:held]],
    }


def _standardised(file: Path, rows: Rows) -> Table:
    mean, scale = rows.train.mean(0), rows.train.std(0)
    if len(flat := np.flatnonzero(scale <= 1e-12 * np.abs(mean))):
        raise DataError(f"{file}: {_shown(flat[0], rows.names)} is constant and has no density")
    tensors = {
        name: torch.from_numpy(((part - mean) / scale).astype(np.float32))
        for name, part in zip(_SPLITS, (rows.train, rows.val, rows.test), strict=True)
    }
    return Table(**tensors, mean=torch.from_numpy(mean), scale=torch.from_numpy(scale))

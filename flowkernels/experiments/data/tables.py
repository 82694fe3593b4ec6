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

__all__ = ["Table", "load_table"]

Array = npt.NDArray[np.float64]
_SPLITS = ("train", "val", "test")
# Of one array of an archive, which may be packed a thousandfold; of a file, it is the file's size.
_MOST_BYTES = 1 << 32
_LONGEST_LINE = 1 << 20


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
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ValueError(f"val and test must be from 0 and below 1 together, got {val} and {test}")
    file = Path(path)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if file.suffix not in readers:
        raise DataError(f"{file}: expected a table in {', '.join(readers)}")
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{file}: expected a file")
        parts = readers[file.suffix](file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise DataError(f"{file}: needs more memory than there is") from error
    for name, rows in parts.items():
        _check(file, name, rows)
    if len(parts) == 1:
        (whole,) = parts.values()
        parts = _split(whole, val, test, seed)
    return _standardised(file, parts)


def _read_npy(file: Path) -> dict[str, Array]:
    try:
        with file.open("rb") as stream:
            _check_announced(str(file), stream, os.fstat(stream.fileno()).st_size)
            stream.seek(0)
            return {"array": np.lib.format.read_array(stream, allow_pickle=False)}
    except (OSError, DataError, MemoryError):
        raise
    except Exception as error:  # a crafted header can make the reader raise anything
        raise DataError(f"{file}: expected a NumPy array ({short(error)})") from error


def _read_npz(file: Path) -> dict[str, Array]:
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
            return {name: _read_member(file, archive, record) for name, record in records.items()}
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


def _read_csv(file: Path) -> dict[str, Array]:
    values, columns = array("d"), 0
    with file.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.reader(_lines(file, text))
        try:
            for cells in reader:
                if not cells:
                    continue
                numbers = [_number(cell) for cell in cells]
                if not columns and all(number is None for number in numbers):
                    continue  # the header line
                if None in numbers:
                    column = numbers.index(None)
                    raise DataError(
                        f"{file}: line {reader.line_num}, column {column + 1}: expected a number, "
                        f"got {cells[column][:100]!r}"
                    )
                columns = columns or len(numbers)
                if len(numbers) != columns:
                    raise DataError(
                        f"{file}: line {reader.line_num}: expected {columns} columns, "
                        f"got {len(numbers)}"
                    )
                values.extend(number for number in numbers if number is not None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file}: expected text with commas ({short(error)})") from error
    table = np.frombuffer(values, np.float64) if values else np.empty(0)
    return {"table": table.reshape(-1, columns) if columns else table.reshape(0, 0)}


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


def _check(file: Path, name: str, rows: Array) -> None:
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "fiub":
        raise DataError(
            f"{file}: {name}: expected numbers of shape (n, d), got {rows.dtype} {rows.shape}"
        )
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"{file}: {name}: row {row + 1}, column {column + 1}: expected a finite number, "
            f"got {rows[row, column]}"
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


def _standardised(file: Path, parts: dict[str, Array]) -> Table:
    if len({rows.shape[1] for rows in parts.values()}) > 1:
        shapes = ", ".join(f"{name} {rows.shape}" for name, rows in parts.items())
        raise DataError(f"{file}: expected as many columns in every split, got {shapes}")
    train = parts["train"].astype(np.float64)
    if len(train) < 2:
        raise DataError(f"{file}: expected at least 2 training rows, got {len(train)}")
    mean, scale = train.mean(0), train.std(0)
    if len(flat := np.flatnonzero(scale <= 1e-12 * np.abs(mean))):
        raise DataError(f"{file}: column {flat[0] + 1} is constant and has no density")
    tensors = {
        name: torch.from_numpy(((rows.astype(np.float64) - mean) / scale).astype(np.float32))
        for name, rows in parts.items()
    }
    return Table(**tensors, mean=torch.from_numpy(mean), scale=torch.from_numpy(scale))

"""IDX files: the format of MNIST and of its drop-in replacements.

A file is a four-byte magic number (two zero bytes, the type code of the elements, the number of
dimensions), one big-endian 32-bit size per dimension, then the elements in C order. The images
and labels this package reads have unsigned bytes (type code 8).
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
import torch

from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError

__all__ = ["decode_idx", "load_idx_folder", "read_bytes", "read_idx"]

_UNSIGNED_BYTE = 0x08
# Twice the largest collection in this format, EMNIST.
_MOST_ELEMENTS = 1 << 30
_PIECE = 1 << 20
# MNIST's four files; some mirrors use a dot instead of the dash.
_IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


@contextlib.contextmanager
def open_data(path: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """A data file, unpacked while it is read if its name ends in ``.gz``; and its size if known.

    Reading is bounded by what the caller asks for: a small file may unpack to any size.

    Raises:
        DataError: the file cannot be read, is no file, or its compression is damaged.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise DataError(f"{path}: expected a file")
            if path.suffix != ".gz":
                yield file, found.st_size
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("IO[bytes]", unpacked), None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a complete gzip file, found {path.stat().st_size} bytes that do not "
            f"unpack ({error}). The file is damaged or was only partly downloaded."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_bytes(path: Path, *, most: int) -> bytes:
    """The content of ``path``, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: the file cannot be read, its compression is damaged, or its content has more
            than ``most`` bytes.
    """
    with open_data(path) as (file, size):
        content = b"" if size is not None and size > most else file.read(most + 1)
    if (size or len(content)) > most:
        raise DataError(f"{path}: expected at most {most} bytes, found more")
    return content


def decode_idx(content: bytes, *, ndim: int, source: str | os.PathLike[str]) -> torch.Tensor:
    """The array inside an IDX file.

    Args:
        content: the bytes of the file, unpacked.
        ndim: the expected number of dimensions: 3 for images (N, H, W), 1 for labels (N,).
        source: the name of the file in error messages.

    Returns:
        uint8 tensor of the shape in the header.

    Raises:
        DataError: the magic number or the size is wrong, or the header claims more than 2^30
            elements.

    Example:
        >>> import struct
        >>> content = struct.pack(">4B1I3B", 0, 0, 8, 1, 3, 7, 8, 9)
        >>> decode_idx(content, ndim=1, source="labels").tolist()
        [7, 8, 9]
    """
    return _decode(io.BytesIO(content), len(content), ndim, source)


def read_idx(path: str | os.PathLike[str], *, ndim: int) -> torch.Tensor:
    """Read an IDX file, plain or gzipped; see :func:`decode_idx` for shapes and errors.

    No more is unpacked than the header announces.
    """
    with open_data(Path(path)) as (file, size):
        return _decode(file, size, ndim, path)


def _decode(
    file: IO[bytes], size: int | None, ndim: int, source: str | os.PathLike[str]
) -> torch.Tensor:
    """The array in a stream of `size` bytes; None if the size shows only at the end."""
    expected_magic = (_UNSIGNED_BYTE << 8) | ndim
    header = 4 + 4 * ndim
    begin = file.read(header)
    if len(begin) < header:
        raise DataError(
            f"{source}: expected an IDX header of {header} bytes for {ndim} dimension(s), "
            f"found a file of {len(begin)} bytes"
        )
    magic, *shape = struct.unpack(f">{1 + ndim}I", begin)
    if magic != expected_magic:
        raise DataError(
            f"{source}: expected magic number 0x{expected_magic:08x} (unsigned bytes, {ndim} "
            f"dimension(s)), found 0x{magic:08x}"
        )
    count = math.prod(shape)
    if count > _MOST_ELEMENTS:
        raise DataError(
            f"{source}: expected at most {_MOST_ELEMENTS} elements, its header claims sizes "
            f"{tuple(shape)}"
        )
    # A file that is too short or too long is refused before it is read, where its size is known.
    elements = np.empty(count if size is None or size == header + count else 0, np.uint8)
    found = header + (_fill(file, elements) if size is None else size - header)
    if size is not None and elements.size:
        _fill(file, elements)
    more = size is None and found == header + count and bool(file.read(1))
    if found != header + count or more:
        problem = "truncated" if found < header + count else "longer than its header says"
        raise DataError(
            f"{source}: expected {header + count} bytes for sizes {tuple(shape)}, found "
            f"{'more' if more else found}: the file is {problem}"
        )
    return torch.from_numpy(elements.reshape(shape))


def _fill(file: IO[bytes], elements: npt.NDArray[np.uint8]) -> int:
    """Read into an array, in pieces; returns the number of bytes that there were."""
    done = 0
    while done < len(elements):
        piece = file.read(min(_PIECE, len(elements) - done))
        if not piece:
            break
        elements[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return done


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file ``stem`` in ``folder``: plain or gzipped, with a dash or a dot."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    return None


def load_idx_folder(folder: str | os.PathLike[str], *, name: str = "idx") -> ImageDataset:
    """Load the four IDX files of a data set laid out like MNIST.

    Args:
        folder: contains ``train-images-idx3-ubyte`` and ``t10k-images-idx3-ubyte`` and, optionally,
            ``train-labels-idx1-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or with
            ``.gz``.
        name: name of the data set.

    Returns:
        Grey images (N, 1, H, W), uint8.

    Raises:
        DataError: a file is missing, damaged or of the wrong size.
    """
    where = Path(folder)
    if not where.is_dir():
        raise DataError(f"data folder {where}: expected a folder of IDX files, found none there")
    images = {split: _images(where, split) for split in ("train", "test")}
    if images["train"].shape[1:] != images["test"].shape[1:]:
        raise DataError(
            f"{where}: expected training and test images of one size, found "
            f"{tuple(images['train'].shape[2:])} and {tuple(images['test'].shape[2:])}"
        )
    return ImageDataset(
        name=name,
        train=images["train"],
        test=images["test"],
        train_labels=_labels(where, "train", len(images["train"])),
        test_labels=_labels(where, "test", len(images["test"])),
    )


def _images(folder: Path, split: str) -> torch.Tensor:
    stem = _IMAGES[split]
    path = find_idx(folder, stem)
    if path is None:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise DataError(f"{folder}: expected {stem} or {stem}.gz, found {there}")
    images = read_idx(path, ndim=3)
    if images.numel() == 0:
        raise DataError(f"{path}: expected at least one image, found sizes {tuple(images.shape)}")
    return images.unsqueeze(1)


def _labels(folder: Path, split: str, count: int) -> torch.Tensor | None:
    path = find_idx(folder, _LABELS[split])
    if path is None:
        return None
    labels = read_idx(path, ndim=1)
    if len(labels) != count:
        raise DataError(f"{path}: expected {count} labels, one per image, found {len(labels)}")
    return labels

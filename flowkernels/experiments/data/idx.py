"""IDX files: the format of MNIST and of its drop-in replacements.

A file is a four-byte magic number (two zero bytes, the type code of the elements, the number of
dimensions), one big-endian 32-bit size per dimension, then the elements in C order. The images
and labels this package reads have unsigned bytes (type code 8).
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError

__all__ = ["decode_idx", "load_idx_folder", "read_bytes", "read_idx"]

_UNSIGNED_BYTE = 0x08
# MNIST's four files; some mirrors use a dot instead of the dash.
_IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


def read_bytes(path: Path) -> bytes:
    """The content of ``path``, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: the file cannot be read, or its compression is damaged.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                return file.read()
        return path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        size = path.stat().st_size
        raise DataError(
            f"{path}: expected a complete gzip file, found {size} bytes that do not unpack "
            f"({error}). The file is damaged or was only partly downloaded."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def decode_idx(content: bytes, *, ndim: int, source: str | os.PathLike[str]) -> torch.Tensor:
    """The array inside an IDX file.

    Args:
        content: the bytes of the file, unpacked.
        ndim: the expected number of dimensions: 3 for images (N, H, W), 1 for labels (N,).
        source: the name of the file in error messages.

    Returns:
        uint8 tensor of the shape in the header.

    Raises:
        DataError: the magic number or the size is wrong.

    Example:
        >>> import struct
        >>> content = struct.pack(">4B1I3B", 0, 0, 8, 1, 3, 7, 8, 9)
        >>> decode_idx(content, ndim=1, source="labels").tolist()
        [7, 8, 9]
    """
    expected_magic = (_UNSIGNED_BYTE << 8) | ndim
    header = 4 + 4 * ndim
    if len(content) < header:
        raise DataError(
            f"{source}: expected an IDX header of {header} bytes for {ndim} dimension(s), "
            f"found a file of {len(content)} bytes"
        )
    magic, *shape = struct.unpack(f">{1 + ndim}I", content[:header])
    if magic != expected_magic:
        raise DataError(
            f"{source}: expected magic number 0x{expected_magic:08x} (unsigned bytes, {ndim} "
            f"dimension(s)), found 0x{magic:08x}"
        )
    expected = header + math.prod(shape)
    if len(content) != expected:
        problem = "truncated" if len(content) < expected else "longer than its header says"
        raise DataError(
            f"{source}: expected {expected} bytes for sizes {tuple(shape)}, found "
            f"{len(content)}: the file is {problem}"
        )
    elements: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8, offset=header)
    return torch.from_numpy(elements.reshape(shape).copy())


def read_idx(path: str | os.PathLike[str], *, ndim: int) -> torch.Tensor:
    """Read an IDX file, plain or gzipped; see :func:`decode_idx` for shapes and errors."""
    return decode_idx(read_bytes(Path(path)), ndim=ndim, source=path)


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

"""The data sets by name. Add a data set by one line here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowkernels.experiments.data.cifar import load_cifar10
from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.digits import load_digits
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.fashion_mnist import load_fashion_mnist
from flowkernels.experiments.data.files import cache_dir
from flowkernels.experiments.data.idx import load_idx_folder

__all__ = ["DATASETS", "load_dataset"]

Folder = str | os.PathLike[str]


@dataclass(frozen=True)
class _Entry:
    summary: str
    load: Callable[[Folder | None], ImageDataset]


def _digits(folder: Folder | None) -> ImageDataset:
    if folder is not None:
        raise DataError(
            f"data set digits: expected no folder (it comes with scikit-learn), got {folder}"
        )
    return load_digits()


def _idx(folder: Folder | None) -> ImageDataset:
    if folder is None:
        raise DataError("data set idx: expected a folder of IDX files (--data-dir), found none")
    return load_idx_folder(folder, name=Path(folder).resolve().name)


def _cifar10(folder: Folder | None) -> ImageDataset:
    return load_cifar10(cache_dir() / "cifar10" if folder is None else folder)


DATASETS: dict[str, _Entry] = {
    "fashion-mnist": _Entry(
        "28x28 grey clothing; found or downloaded automatically", load_fashion_mnist
    ),
    "idx": _Entry("a folder of IDX files: MNIST, Kuzushiji-MNIST, ...", _idx),
    "cifar10": _Entry("32x32 colour; the binary version (data_batch_*.bin)", _cifar10),
    "digits": _Entry("8x8 grey digits inside scikit-learn; needs no files", _digits),
}


def load_dataset(name: str, folder: Folder | None = None) -> ImageDataset:
    """Load a data set by its name.

    Args:
        name: ``fashion-mnist``, ``idx``, ``cifar10`` or ``digits``.
        folder: folder of its files. Required for ``idx``; by default ``cifar10`` uses the cache
            folder and ``fashion-mnist`` is searched for; ``digits`` has none.

    Returns:
        The data set as uint8 tensors.

    Raises:
        DataError: the name is unknown, or the files are missing or damaged.

    Example:
        >>> load_dataset("digits").shape
        (1, 8, 8)
    """
    if name not in DATASETS:
        raise DataError(f"data set {name!r}: expected one of {', '.join(DATASETS)}")
    return DATASETS[name].load(folder)

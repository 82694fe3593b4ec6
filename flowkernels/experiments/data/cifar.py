"""CIFAR10's binary version: records of one label byte and 3072 pixel bytes.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and the
description of the binary version on the data set's page: red, green and blue planes of 32x32
bytes each, row by row.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.idx import read_bytes

__all__ = ["load_cifar10", "read_cifar_batch"]

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_CLASSES = 10
# A file of the original has 10,000.
_MOST_RECORDS = 100_000


def read_cifar_batch(path: str | os.PathLike[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Read one ``data_batch_*.bin``.

    Returns:
        Images (N, 3, 32, 32) and labels (N,), both uint8.

    Raises:
        DataError: the size is not a whole number of records or above 100,000 of them, or a label
            is not a class.
    """
    content = read_bytes(Path(path), most=_MOST_RECORDS * _RECORD)
    if not content or len(content) % _RECORD:
        raise DataError(
            f"{path}: expected a whole number of records of {_RECORD} bytes (a label and "
            f"3x32x32 pixels), found {len(content)} bytes"
        )
    records = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, _RECORD).copy())
    labels = records[:, 0].contiguous()
    if int(labels.max()) >= _CLASSES:
        row = int((labels >= _CLASSES).nonzero()[0])
        raise DataError(
            f"{path}: expected labels from 0 to {_CLASSES - 1}, found {int(labels[row])} in "
            f"record {row}: not CIFAR10's binary version"
        )
    return records[:, 1:].reshape(-1, *_SHAPE).contiguous(), labels


def load_cifar10(folder: str | os.PathLike[str]) -> ImageDataset:
    """Load CIFAR10 from its unpacked binary version.

    Args:
        folder: holds ``data_batch_1.bin`` ... and ``test_batch.bin``, or the folder
            ``cifar-10-batches-bin`` that the archive unpacks to.

    Raises:
        DataError: a file is missing, damaged or of the wrong size.
    """
    where = Path(folder)
    if (where / "cifar-10-batches-bin").is_dir():
        where = where / "cifar-10-batches-bin"
    batches = sorted(where.glob("data_batch_*.bin"))
    test = where / "test_batch.bin"
    if not batches or not test.is_file():
        raise DataError(
            f"{where}: expected data_batch_1.bin ... data_batch_5.bin and test_batch.bin (the "
            f"binary version of CIFAR10), found {len(batches)} training batch file(s) and "
            f"{'a' if test.is_file() else 'no'} test file"
        )
    parts = [read_cifar_batch(path) for path in batches]
    test_images, test_labels = read_cifar_batch(test)
    return ImageDataset(
        name="cifar10",
        train=torch.cat([images for images, _ in parts]),
        test=test_images,
        train_labels=torch.cat([labels for _, labels in parts]),
        test_labels=test_labels,
    )

"""The 8x8 digits of scikit-learn, a data set that needs no download."""

from __future__ import annotations

import torch

from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.extras import require

__all__ = ["load_digits"]

_TEST = 360
_MAX = 16


def load_digits() -> ImageDataset:
    """The 1797 handwritten 8x8 digits, 1437 for training and 360 for testing.

    The values 0 to 16 are mapped to levels as ``round(255 v / 16)``. Only 17 of the 256 levels
    occur, which a flow can learn: bits per dimension are far below those of photographs and
    comparable only within this data set. The split is a fixed shuffle, because the file is
    ordered by writer.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> load_digits().train.shape
        torch.Size([1437, 1, 8, 8])
    """
    sklearn = require("sklearn.datasets", extra="train", purpose="the data set 'digits'")
    bunch = sklearn.load_digits()
    levels = torch.from_numpy(bunch.images).mul(255 / _MAX).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).to(torch.uint8)
    order = torch.randperm(len(levels), generator=torch.Generator().manual_seed(0))
    test, train = order[:_TEST], order[_TEST:]
    return ImageDataset(
        name="digits",
        train=levels[train],
        test=levels[test],
        train_labels=labels[train],
        test_labels=labels[test],
    )

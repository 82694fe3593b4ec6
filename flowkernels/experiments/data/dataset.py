"""Image data sets: the splits as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["ImageDataset"]


@dataclass(frozen=True)
class ImageDataset:
    """An image data set in memory, as uint8 levels.

    Attributes:
        name: name of the data set.
        train: (N, C, H, W) uint8, levels 0 to 255.
        test: (M, C, H, W) uint8.
        train_labels: (N,) uint8, or None.
        test_labels: (M,) uint8, or None.
    """

    name: str
    train: torch.Tensor
    test: torch.Tensor
    train_labels: torch.Tensor | None = None
    test_labels: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images: torch.Tensor = getattr(self, split)
            if images.dtype != torch.uint8 or images.ndim != 4:
                raise ValueError(
                    f"{split}: expected a uint8 tensor of shape (N, C, H, W), got "
                    f"{images.dtype} of shape {tuple(images.shape)}"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image.

        Example:
            >>> blank = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
            >>> ImageDataset("blank", train=blank, test=blank).shape
            (1, 8, 8)
        """
        channels, height, width = self.train.shape[1:]
        return channels, height, width

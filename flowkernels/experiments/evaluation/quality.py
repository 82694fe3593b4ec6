"""FID, KID, precision and recall between sets of images, accumulated over batches."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from flowkernels.experiments.evaluation.extractor import Extractor, features
from flowkernels.experiments.evaluation.manifold import Manifold, precision_and_recall
from flowkernels.experiments.evaluation.noise import fixed_noise

__all__ = ["ImageQualities", "ImageQuality", "Quality"]

_SEED = 3_141_592


class Quality(Protocol):
    """Scores images that come in batches against a real set."""

    def update(self, images: Tensor) -> None:
        """Add generated images (B, C, H, W) of levels."""

    def compute(self) -> dict[str, Any]:
        """The scores of the images so far; starts anew."""


class ImageQuality:
    """FID, KID, precision and recall of images against a real set, in an extractor's features.

    The Frechet distance between Gaussians fitted to the features (Heusel et al. 2017), and the
    mean over random subsets of the unbiased squared maximum mean discrepancy with the kernel
    (x.y / d + 1)^3 (Binkowski et al. 2018), both by torchmetrics; precision and recall by
    :func:`~flowkernels.experiments.evaluation.manifold.precision_and_recall`. All but KID depend
    on the number of images: compare only results for the same number.

    Args:
        extractor: of the features; set to evaluation mode. Report its label with every result.
        real: images (N, C, H, W) of levels.
        subset_size: of KID; at most the number of images.
        subsets: of KID.

    Example:
        >>> from flowkernels.experiments.evaluation import Classifier
        >>> real = torch.randint(256, (300, 1, 8, 8), dtype=torch.uint8)
        >>> quality = ImageQuality(Classifier((1, 8, 8), 10), real, subset_size=100)
        >>> quality.update(real)
        >>> abs(quality.compute()["fid"]) < 1e-5  # the same images
        True
    """

    def __init__(
        self, extractor: Extractor, real: Tensor, *, subset_size: int = 1000, subsets: int = 50
    ) -> None:
        # Batch norm and dropout must not mix images.
        self.extractor = extractor.eval()
        self.subset_size = min(subset_size, len(real))
        with warnings.catch_warnings():
            # KID stores the features, about a hundred numbers per image.
            warnings.filterwarnings("ignore", message=".*save all extracted features.*")
            self.fid = FrechetInceptionDistance(_Features(extractor), reset_real_features=False)
            self.kid = KernelInceptionDistance(
                _Features(extractor),
                subsets=subsets,
                subset_size=self.subset_size,
                reset_real_features=False,
            )
        # A difference of traces: float32 would leave three digits.
        self.fid.set_dtype(torch.float64)
        self._add(real, real=True)
        self._real = Manifold(torch.cat(self.kid.real_features))

    def update(self, images: Tensor) -> None:
        """Add generated images (B, C, H, W) of levels."""
        self._add(images, real=False)

    def compute(self) -> dict[str, float]:
        """``fid``, ``kid``, ``kid_error`` (standard error over subsets), ``precision``, ``recall``.

        Starts anew.
        """
        given = torch.cat(self.kid.fake_features)
        self.kid.subset_size = min(self.subset_size, len(given))
        precision, recall = precision_and_recall(self._real, Manifold(given))
        with fixed_noise(_SEED):
            mean, spread = self.kid.compute()
        result = {
            "fid": float(self.fid.compute()),
            "kid": float(mean),
            "kid_error": float(spread) / self.kid.subsets**0.5,
            "precision": precision,
            "recall": recall,
        }
        self.fid.reset()
        self.kid.reset()
        return result

    def _add(self, images: Tensor, *, real: bool) -> None:
        for batch in features(self.extractor, images):
            self.fid.update(batch, real=real)
            self.kid.update(batch, real=real)


class ImageQualities:
    """The scores of several extractors, by name.

    Args:
        qualities: of each.
    """

    def __init__(self, qualities: Mapping[str, ImageQuality]) -> None:
        self.qualities = dict(qualities)

    def update(self, images: Tensor) -> None:
        """Add generated images (B, C, H, W) of levels."""
        for quality in self.qualities.values():
            quality.update(images)

    def compute(self) -> dict[str, dict[str, float]]:
        """By name what :meth:`ImageQuality.compute` returns; starts anew."""
        return {name: quality.compute() for name, quality in self.qualities.items()}


class _Features(nn.Module):
    """Replaces torchmetrics' network, so that the features are computed once for both metrics."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.num_features = extractor.num_features

    def forward(self, x: Tensor) -> Tensor:
        return x

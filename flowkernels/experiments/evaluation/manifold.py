"""Precision and recall of images in an extractor's features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Manifold", "precision_and_recall"]

_BLOCK = 1000
_NEIGHBOURS = 3


class Manifold:
    """The region that a set of features covers: balls that reach to the k-th nearest other one.

    Args:
        rows: features (N, d).
        neighbours: k.

    Raises:
        ValueError: there are at most k features.
    """

    def __init__(self, rows: Tensor, *, neighbours: int = _NEIGHBOURS) -> None:
        if len(rows) <= neighbours:
            raise ValueError(
                f"rows: expected more than {neighbours} images for precision and recall, got "
                f"{len(rows)}"
            )
        self.rows = rows
        # The row itself comes first, at a distance of zero.
        self.radii = _over_blocks(
            rows, rows, lambda distances: distances.kthvalue(neighbours + 1, dim=1).values
        )

    def share_within(self, points: Tensor) -> float:
        """The share of the points (M, d) within the region."""
        inside = _over_blocks(points, self.rows, lambda distances: (distances <= self.radii).any(1))
        return float(inside.double().mean())


def precision_and_recall(real: Manifold, fake: Manifold) -> tuple[float, float]:
    """How many generated images look real, and how much of the real ones is generated.

    Precision is the share of generated features within the real manifold, recall the share of
    real features within the generated one (Kynkaanniemi et al. 2019, "Improved precision and
    recall metric for assessing generative models", arXiv 1904.06991, equations 1 and 2). Both
    depend on the numbers of images: compare only results for the same numbers.

    Example:
        >>> rows = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).double()
        >>> precision_and_recall(Manifold(rows), Manifold(rows))
        (1.0, 1.0)
        >>> precision_and_recall(Manifold(rows), Manifold(rows + 100))
        (0.0, 0.0)
    """
    return real.share_within(fake.rows), fake.share_within(real.rows)


def _over_blocks(rows: Tensor, others: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """`reduce` of the distances (B, N) from a block of rows to all others, joined over blocks."""
    # By one matrix product, six times as fast as from differences; float64 makes it exact enough.
    others = others.double()
    parts = rows.double().split(_BLOCK)
    return torch.cat(
        [reduce(torch.cdist(part, others, compute_mode="use_mm_for_euclid_dist")) for part in parts]
    )

"""Scores of walks between images: quality, likelihood, evenness, distance to training images.

A walk needs several scores: a blend of two images is likely but blurred, a path through a remote
region of the latent space gives sharp nonsense, and a path that jumps from end to end has perfect
images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowkernels.experiments.evaluation.evaluate import score
from flowkernels.experiments.evaluation.metrics import MeanScore
from flowkernels.experiments.evaluation.quality import Quality
from flowkernels.flows import Flow
from flowkernels.interpolation import Path

__all__ = ["NearestImages", "pairs_of", "score_walks", "walk_images"]

_BATCH = 100


def pairs_of(images: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ends for ``count`` walks: two disjoint random halves of 2 ``count`` of the images.

    Raises:
        ValueError: there are fewer than 2 ``count`` images.
    """
    if 2 * count > len(images):
        raise ValueError(f"count: expected at most {len(images) // 2} pairs, got {count}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:count]], images[order[count : 2 * count]]


class NearestImages:
    """Euclidean distance to the nearest of many images, per pixel: root mean square, levels / 255.

    Args:
        images: (N, C, H, W) of levels.

    Example:
        >>> images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
        >>> NearestImages(images)(torch.full((1, 1, 2, 2), 51.0)).tolist()
        [0.20000000298023224]
    """

    def __init__(self, images: Tensor) -> None:
        self.rows = images.flatten(1)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Distances (B,) of images (B, C, H, W)."""
        given = images.flatten(1).float() / 255
        best = given.new_full((len(given),), torch.inf)
        for part in self.rows.split(4096):
            known = part.to(given) / 255
            # The nearest by |b|^2 - 2 a.b, one matrix product; how near by the difference
            # itself, which is exact for copies.
            where = (known.square().sum(1) - 2 * given @ known.T).argmin(1)
            exact = (given - known[where]).square().sum(1)
            best = torch.minimum(best, exact)
        return (best / given.shape[1]).sqrt()


@torch.no_grad()
def walk_images(
    flow: Flow, a: Tensor, b: Tensor, points: int, path: str | Path | None = None
) -> tuple[Tensor, Tensor]:
    """Images and latents of walks from a to b, ends included.

    Args:
        flow: trained.
        a: images (B, C, H, W) at the start of the walks.
        b: images at their end.
        points: per walk, at equal steps of t from 0 to 1.
        path: see :meth:`flowkernels.flows.Flow.interpolate`.

    Returns:
        Images (B, points, C, H, W) of levels and latents (B, points, d).
    """
    device = flow.device
    t = torch.linspace(0, 1, points, dtype=flow.dtype, device=device)
    latents = flow.latent_path(a.to(device), b.to(device), t, path)
    return flow.inverse(latents)[0], latents


@torch.no_grad()
def score_walks(
    flow: Flow,
    ends: tuple[Tensor, Tensor],
    *,
    path: str | Path | None = None,
    points: int = 7,
    quality: Quality | None = None,
    nearest: NearestImages | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Scores of the walks between pairs of images.

    Args:
        flow: in evaluation mode.
        ends: images (N, C, H, W) at the start and at the end of the walks.
        path: a name, a function, or None for the base's default.
        points: per walk including the ends, at least 3.
        quality: scores the inner points against real images; None to skip.
        nearest: finds the nearest training image; None to skip.
        on_batch: called with the number of points done, of ``points`` per pair.

    Returns:
        ``bpd`` of the inner points and its ``standard_error`` over the walks; ``profile``, the mean
        bits per dimension at each of the points, ends included; ``length``, the mean over the walks
        of sum |x_{i+1} - x_i| / |x_n - x_0| in pixels, 1 for a straight blend; ``roughness``, the
        mean of the longest step over the mean step, 1 for an even walk; ``end_norm`` and
        ``middle_norm``, lists of the lengths of the latents at the ends and in the middle;
        ``nearest``, the mean distance of the middle images to a training image; and the result
        of the quality's ``compute``.

    Raises:
        ValueError: fewer than 3 points.
    """
    if points < 3:
        raise ValueError(f"points: expected at least 3, got {points}")
    statistics = _WalkStatistics(flow, path, points)
    statistics.quality, statistics.nearest = quality, nearest
    device = flow.device
    walks = MeanScore().to(device)
    profile = torch.zeros(points, dtype=torch.float64, device=device)

    def bits_per_dim(images: Tensor) -> Tensor:
        bits = flow.bits_per_dim(images)
        rows = bits.double().unflatten(0, (-1, points))
        walks.update(rows[:, 1:-1].mean(1))
        profile.add_(rows.sum(0))
        return bits

    score(bits_per_dim, statistics.points_of(ends), device=device, on_batch=on_batch)
    mean, error, count = (float(value) for value in walks.compute().values())
    return {
        "bpd": mean,
        "standard_error": error,
        "profile": (profile / count).tolist(),
        **statistics.summary(),
    }


class _WalkStatistics:
    """Statistics of walks, accumulated while their points are scored."""

    quality: Quality | None
    nearest: NearestImages | None

    def __init__(self, flow: Flow, path: str | Path | None, points: int) -> None:
        self.flow, self.path, self.points = flow, path, points
        self.columns: dict[str, list[Tensor]] = {
            name: [] for name in ("length", "roughness", "nearest", "end_norm", "middle_norm")
        }

    def points_of(self, ends: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
        """The points in batches (B * points, C, H, W)."""
        middle = self.points // 2
        for a, b in zip(ends[0].split(_BATCH), ends[1].split(_BATCH), strict=True):
            images, latents = walk_images(self.flow, a, b, self.points, self.path)
            steps = images.diff(dim=1).flatten(2).norm(dim=2)
            chord = (images[:, -1] - images[:, 0]).flatten(1).norm(dim=1)
            radius = latents.norm(dim=-1)
            row = {
                "length": steps.sum(1) / chord,
                "roughness": steps.amax(1) / steps.mean(1),
                "end_norm": radius[:, [0, -1]].flatten(),
                "middle_norm": radius[:, middle],
            }
            if self.nearest is not None:
                row["nearest"] = self.nearest(images[:, middle].cpu())
            for name, values in row.items():
                self.columns[name].append(values.cpu())
            if self.quality is not None:
                self.quality.update(images[:, 1:-1].flatten(0, 1))
            yield images.flatten(0, 1)

    def summary(self) -> dict[str, Any]:
        """Means over the walks, and the lengths of the latents."""
        joined = {name: torch.cat(parts) for name, parts in self.columns.items() if parts}
        result: dict[str, Any] = {
            name: values.tolist() if name.endswith("_norm") else float(values.mean())
            for name, values in joined.items()
        }
        return result | (self.quality.compute() if self.quality is not None else {})

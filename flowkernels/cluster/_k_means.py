"""The steps of spherical k-means."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._fitting import Evaluation
from ._group import Group
from ._mixture import weighted_sum
from ._sources import Source, keep
from ._statistics import assignments, hard_statistics

__all__ = ["KMeans"]


@dataclass(frozen=True)
class KMeans:
    """Spherical k-means: the centres (K, p), in float64, maximise the mean cosine.

    Attributes:
        tol: the relative decrease of the mean distance at which the fit ends.

    Source: Dhillon & Modha, Machine Learning 42 (2001), section 3.
    """

    tol: float

    def evaluate(self, state: Tensor, source: Source, group: Group) -> Evaluation:
        """Assigns each point to its nearest centre; the objective is minus the mean distance."""
        counts = state.new_zeros(state.shape[0])
        sums = torch.zeros_like(state)
        objective = counts.new_zeros(())
        locs = state.to(source.kind.dtype)
        for x, weights in source.blocks():
            best, labels = assignments(x, locs, None, None)
            n, s = hard_statistics(x, labels, len(locs), weights)
            counts += n
            sums += s
            objective += weighted_sum(best, weights)
        group.sum(counts, sums, objective)
        total = counts.sum()
        return Evaluation(float(objective / total), counts, sums, float(total))

    def update(
        self, state: Tensor, found: Evaluation, source: Source | None, group: Group
    ) -> Tensor:
        """Moves each centre to the direction of its points' sum.

        A centre without points moves to the point that is farthest from its own centre.
        Where points cancel out, and in a stream, it stays.
        """
        lengths = torch.linalg.vector_norm(found.sums, dim=1, keepdim=True)
        new = torch.where(lengths > 0, found.sums / lengths.clamp(min=1e-300), state)
        empty = (found.counts == 0).nonzero()[:, 0]
        if source is not None and len(empty):
            far, _, _ = keep(source, len(empty), lambda x: _distance_order(x, state), group)
            group.first(far)
            new[empty[: len(far)]] = far.double()
        return new

    def settled(self, old: float, new: float) -> bool:
        """Whether the mean distance has stopped to fall."""
        return new - old <= self.tol * abs(new)


def _distance_order(x: Tensor, locs: Tensor) -> Tensor:
    """Minus the distance to the nearest centre; infinity for points that lie on it."""
    best, _ = assignments(x, locs.to(x.dtype), None, None)
    return torch.where(best < -16 * torch.finfo(x.dtype).eps, best, torch.inf)

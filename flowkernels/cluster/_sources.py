"""Where a fit reads its points from: an array, or batches that are iterated once a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from ._group import Group
from ._rows import Kind, is_ready, points, unit_blocks, unit_rows, weights_of

__all__ = ["Batches", "Points", "Source", "keep"]

Block = tuple[Tensor, "Tensor | None"]


class Source(Protocol):
    """Rows of unit length with their weights, in blocks, as often as they are asked for."""

    kind: Kind
    dim: int

    def blocks(self) -> Iterator[Block]:
        """One pass over the points."""


class Points:
    """An array or tensor (N, p), used in place where its rows have unit length."""

    def __init__(
        self,
        owner: str,
        X: Any,
        sample_weight: Any,
        normalize: bool,
        features: int | None = None,
    ) -> None:
        self.owner, self.normalize = owner, normalize
        self.x, self.kind = points(owner, X, features=features)
        self.dim = self.x.shape[1]
        self.weights = weights_of(owner, sample_weight, self.x, self.kind.dtype)
        self.ready = is_ready(owner, self.x, self.kind.dtype, normalize)

    def blocks(self) -> Iterator[Block]:
        """One pass over the points."""
        for rows, x in unit_blocks(
            self.owner, self.x, self.kind.dtype, self.normalize, ready=self.ready
        ):
            yield x, None if self.weights is None else self.weights[rows]


class Batches:
    """An iterable, or a function that returns one, of X or (X, sample_weight)."""

    def __init__(
        self, owner: str, batches: Iterable[Any] | Callable[[], Iterable[Any]], normalize: bool
    ) -> None:
        self.owner, self.normalize, self.batches = owner, normalize, batches
        if not callable(batches) and not isinstance(batches, Iterable):
            raise TypeError(
                f"{owner}.fit_batches: batches must be an iterable or a function that returns one, "
                f"got {type(batches).__name__}"
            )
        if isinstance(batches, Iterator):
            raise TypeError(
                f"{owner}.fit_batches: batches are iterated once a pass, got an iterator, which "
                "ends after the first: give a list, a data loader or the function that makes it"
            )
        first = next(iter(self._all()), None)
        if first is None:
            raise ValueError(f"{owner}.fit_batches: batches must not be empty, got no batch")
        x, self.kind = points(owner, first[0])
        self.dim = x.shape[1]

    def _all(self) -> Iterator[tuple[Any, Any]]:
        batches = self.batches() if callable(self.batches) else self.batches
        for batch in batches:
            if isinstance(batch, (tuple, list)):
                if len(batch) not in (1, 2) or getattr(batch[0], "ndim", 2) != 2:
                    raise TypeError(
                        f"{self.owner}.fit_batches: a batch must be X or (X, sample_weight), got "
                        f"a {type(batch).__name__} of {len(batch)}"
                    )
                yield batch[0], batch[1] if len(batch) == 2 else None
            else:
                yield batch, None

    def blocks(self) -> Iterator[Block]:
        """One pass over the points."""
        for X, sample_weight in self._all():
            x, kind = points(self.owner, X, least=0)
            if x.shape[1] != self.dim or kind.device != self.kind.device:
                raise ValueError(
                    f"{self.owner}.fit_batches: batches must all have {self.dim} features on "
                    f"{self.kind.device}, got {x.shape[1]} on {kind.device}"
                )
            weights = weights_of(self.owner, sample_weight, x, self.kind.dtype)
            rows, _ = unit_rows(self.owner, x, self.kind.dtype, self.normalize)
            yield rows, weights


def keep(
    source: Source, size: int, keys_of: Callable[[Tensor], Tensor], group: Group
) -> tuple[Tensor, Tensor, int]:
    """The rows of the smallest keys, `size` of them over all processes, in the order of the data.

    Rows of weight 0 are left out.

    Returns:
        rows (n, p), n <= size; their weights (n,); the number of points of positive weight.
    """
    device, dtype = source.kind.device, source.kind.dtype
    rows = torch.empty((0, source.dim), device=device, dtype=dtype)
    weights = torch.empty(0, device=device, dtype=dtype)
    keys = torch.empty(0, device=device, dtype=torch.float64)
    total = 0
    for x, w in source.blocks():
        w = x.new_ones(x.shape[0]) if w is None else w
        key = keys_of(x).to(device=device, dtype=torch.float64)
        key = torch.where(w > 0, key, torch.inf)
        total += int((w > 0).sum())
        if keys.shape[0] == size and size:
            key = torch.where(key < keys.max(), key, torch.inf)
        new = _smallest(key, size)
        if new.shape[0]:
            rows = torch.cat((rows, x[new]))
            weights, keys = torch.cat((weights, w[new])), torch.cat((keys, key[new]))
        best = _smallest(keys, size)
        if best.shape[0] < keys.shape[0]:
            rows, weights, keys = rows[best], weights[best], keys[best]
    if group.size > 1:
        counted = torch.tensor([total], device=device)
        group.sum(counted)
        total = int(counted)
        rows, weights, keys = (group.concatenate(each) for each in (rows, weights, keys))
        best = _smallest(keys, size)
        rows, weights = rows[best], weights[best]
    return rows, weights, total


def _smallest(keys: Tensor, size: int) -> Tensor:
    """The places of the finite keys among the `size` smallest, in ascending order of the place."""
    if keys.shape[0] > size:
        places = keys.topk(size, largest=False).indices
        places = places[keys[places].isfinite()]
    else:
        places = keys.isfinite().nonzero()[:, 0]
    return places.sort().values

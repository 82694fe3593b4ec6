"""First directions: k-means++ for the sphere, on a sample of the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._group import Group
from ._rows import unit_rows
from ._sources import Source, keep
from ._statistics import assignments, hard_statistics

__all__ = ["directions", "given_directions", "plus_plus", "sample_size"]

# Passes of k-means over the sample, for init="k-means".
PASSES = 10


def sample_size(k: int, dim: int) -> int:
    """How many points the start looks at: all up to this number, else as many at random."""
    return max(4096, 32 * k, min(1 << 15, (1 << 22) // dim))


def seeds(rng: Any, count: int = 1) -> np.random.Generator:
    """An independent generator, drawn from the estimator's."""
    draw = rng.integers if isinstance(rng, np.random.Generator) else rng.randint
    return np.random.default_rng([int(n) for n in draw(0, 2**31 - 1, size=count)])


def given_directions(owner: str, value: Any, k: int, source: Source) -> Tensor:
    """The user's directions (K, p), normalised, in float64."""
    raw = value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if raw.shape != (k, source.dim) or raw.is_complex():
        raise ValueError(
            f"{owner}: init must have shape (n, n_features) = ({k}, {source.dim}), got "
            f"{tuple(raw.shape)}"
        )
    raw = raw.to(device=source.kind.device)
    return unit_rows(f"{owner}: init as", raw, torch.float64, True)[0].clone()


def plus_plus(x: Tensor, weights: Tensor, k: int, rng: np.random.Generator) -> Tensor:
    """Rows (K, p) of x, each drawn with probability proportional to its distance from the others.

    The distance is 1 - cosine, half the squared chord. Each step tries 2 + log K points and keeps
    the one that lowers the sum of distances most. Where fewer than K points differ, some are drawn
    twice.

    Source: Arthur & Vassilvitskii, k-means++: the advantages of careful seeding (SODA 2007),
    sections 2.2 and 5; on the sphere Endo & Miyamoto, Spherical k-means++ clustering (MDAI 2015).
    """
    trials = 2 + int(math.log(k))
    weights = weights.to(x.dtype)
    first = _draw(weights, 1, rng)
    nearest = _distances(x, first)[0]
    # Numbers, not tensors: small pieces of memory that stay would keep large ones apart.
    chosen = [int(first)]
    while len(chosen) < k:
        mass = nearest * weights
        candidates = _draw(mass if bool((mass > 0).any()) else weights, trials, rng)
        distances = _distances(x, candidates)
        torch.minimum(distances, nearest, out=distances)
        best = int((distances @ weights).argmin())
        nearest.copy_(distances[best])
        chosen.append(int(candidates[best]))
    return x[torch.tensor(chosen, device=x.device)]


def _draw(mass: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Places drawn with replacement, with probability proportional to their mass."""
    upper = mass.cumsum(0, dtype=torch.float64)
    uniform = torch.from_numpy(rng.random(count)).to(upper.device)
    places = torch.searchsorted(upper, uniform * upper[-1], right=True)
    last = int(mass.nonzero()[-1])
    return places.clamp_(max=last)


def _distances(x: Tensor, places: Tensor) -> Tensor:
    """1 - cosine to the points at these places, (places, N)."""
    distances = (x[places] @ x.T).neg_().add_(1)
    # What rounding leaves of equal points is no distance.
    eps = torch.finfo(x.dtype).eps
    return torch.nn.functional.threshold(distances, 8 * eps, 0, inplace=True)


def directions(
    owner: str,
    source: Source,
    k: int,
    init: Any,
    rng: np.random.Generator,
    group: Group,
) -> Tensor:
    """First directions (K, p) in float64, the same in every process."""
    if not isinstance(init, str):
        given = given_directions(owner, init, k, source)
        group.first(given)
        return given
    seed = torch.from_numpy(rng.integers(0, 2**31 - 1, size=2)).to(source.kind.device)
    group.first(seed)
    key_rng = np.random.default_rng([int(seed[0]), group.rank])
    x, weights, total = keep(
        source,
        sample_size(k, source.dim),
        lambda rows: torch.from_numpy(key_rng.random(len(rows))),
        group,
    )
    if total < k:
        raise ValueError(
            f"{owner}: n_samples={total} should be >= n_clusters={k}: X must have at least as many "
            "points of positive weight as there are clusters"
        )
    step_rng = np.random.default_rng([int(seed[1])])
    if init == "random":
        places = torch.from_numpy(step_rng.choice(len(x), k, replace=False)).to(x.device)
        locs = x[places]
    else:
        locs = plus_plus(x, weights, k, step_rng)
    if init == "k-means":
        locs = _refine(x, weights, locs)
    locs = locs.double()
    group.first(locs)
    return locs


def _refine(x: Tensor, weights: Tensor, locs: Tensor) -> Tensor:
    """Some passes of spherical k-means over the sample; an empty cluster stays where it is."""
    for _ in range(PASSES):
        _, labels = assignments(x, locs, None, None)
        _, sums = hard_statistics(x, labels, len(locs), weights)
        lengths = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
        new = torch.where(lengths > 0, sums / lengths.clamp(min=1e-300), locs.double()).to(x.dtype)
        if torch.equal(new, locs):
            break
        locs = new
    return locs

"""python -m benchmarks.cluster_memory: what a fit needs beyond its points.

Fits a mixture of von Mises-Fisher distributions, from its start through one update, to random unit
vectors in float32, 10^6 x 256 with K = 1000 unless told otherwise. Prints the process's memory
before the fit, with the points, and its peak afterwards, in MiB, and writes cluster_memory.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from flowkernels.cluster import VonMisesFisherMixture

from . import files, machine
from .peak import _peak


def points(n: int, p: int) -> torch.Tensor:
    """Unit vectors, made in place a block at a time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.empty(n, p)
    for block in x.split(10_000):
        block.normal_(generator=generator)
        block /= torch.linalg.vector_norm(block, dim=1, keepdim=True)
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--components", type=int, default=1000)
    parser.add_argument("--scaled", action="store_true", help="rows of length 2, to be normalised")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cluster_memory.json"))
    given = parser.parse_args()
    x = points(given.points, given.dim)
    if given.scaled:
        x *= 2
    # Loads what a first fit loads.
    VonMisesFisherMixture(2, max_iter=1, random_state=0).fit(x[:1000])
    before = _peak()
    start = time.perf_counter()
    mixture = VonMisesFisherMixture(given.components, max_iter=1, random_state=0).fit(x)
    seconds = time.perf_counter() - start
    peak = _peak()
    found = {
        "shape": [given.points, given.dim, given.components],
        "normalised": given.scaled,
        "before_mib": round(before),
        "peak_mib": round(peak),
        "beyond_the_points_mib": round(peak - before),
        "seconds": round(seconds, 1),
        "lower_bounds": mixture.lower_bounds_,
    }
    print(json.dumps(found))
    facts = {"machine": machine.facts(), **found}
    files.write_text(given.out, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

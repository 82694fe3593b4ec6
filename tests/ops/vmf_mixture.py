"""Cases of vmf_mixture_log_prob and vmf_mixture_statistics: those of their declarations, points of
several blocks, and many components."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flowkernels.ops._declaration import PUBLIC

from .case import Case, Sample
from .derived import case_of

# Rows of n are points in R^(n + 1): strips are of 64 points, parts of sums of four strips or more.
BLOCKS = [(600, 259), (1100, 2), (2, 300, 300)]
# More components than long points are multiplied with where they are, and no multiple of a tile's.
MANY, COMPONENTS = (70, 149), 31


def _components(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    locs = torch.nn.functional.normalize(torch.randn(COMPONENTS, dim, dtype=torch.float64), dim=-1)
    concentrations = dim * (0.3 + torch.rand(COMPONENTS, dtype=torch.float64))
    return locs, concentrations, torch.randn(COMPONENTS, dtype=torch.float64).log_softmax(0)


def _with_blocks(name: str) -> Case:
    op = PUBLIC[name]
    derived = case_of(op)

    def samples() -> list[Sample]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            more = [Sample(f"blocks {size}", op.inputs.tensors(size)) for size in BLOCKS]
            x, _, _, _, *rest = op.inputs.tensors(MANY)
            more.append(Sample(f"{COMPONENTS} components", (x, *_components(MANY[-1] + 1), *rest)))
        return [*derived.samples(), *more]

    # The sums are float64 whatever the points are, products of the points' precision.
    return replace(derived, samples=samples, rounds_inside=name == "vmf_mixture_statistics")


CASES = [_with_blocks(name) for name in ("vmf_mixture_log_prob", "vmf_mixture_statistics")]

"""Hard assignments of points to directions, and their sums.

Never makes the (N, K) matrix: rows are taken in blocks, the products are BLAS's, and the sums over
blocks are float64. Soft assignments are `ops.vmf_mixture_statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowkernels import ops

__all__ = ["assignments", "hard_statistics"]

# Elements of a block's (rows, K) matrix, 4 MB in float32: it stays in the cache of a CPU.
BLOCK = 1 << 20
BLOCK_ON_GPU = 1 << 26


def _blocks(x: Tensor, k: int) -> Iterator[slice]:
    """Slices of rows."""
    size = max(16, (BLOCK if x.device.type == "cpu" else BLOCK_ON_GPU) // max(1, k))
    for start in range(0, x.shape[0], size):
        yield slice(start, min(start + size, x.shape[0]))


def assignments(
    x: Tensor, locs: Tensor, concentrations: Tensor | None, log_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The largest log w_k + log density of component k at each row, and its k.

    Without concentrations and weights it is x_n.loc_k - 1, minus the cosine distance.
    """
    best, labels = x.new_empty(x.shape[0]), x.new_empty(x.shape[0], dtype=torch.int64)
    for rows in _blocks(x, locs.shape[0]):
        if concentrations is None or log_weights is None:
            torch.max(x[rows] @ locs.T, 1, out=(best[rows], labels[rows]))
            best[rows] -= 1
        else:
            log_prob, log_r = ops.vmf_mixture_log_prob(x[rows], locs, concentrations, log_weights)
            torch.max(log_r, 1, out=(best[rows], labels[rows]))
            best[rows] += log_prob
    return best, labels


def hard_statistics(
    x: Tensor, labels: Tensor, k: int, sample_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Counts (K,) and sums (K, p) of the rows of each label, in float64."""
    counts = x.new_zeros(k, dtype=torch.float64)
    sums = x.new_zeros((k, x.shape[1]), dtype=torch.float64)
    for rows in _blocks(x, x.shape[1]):
        # Rows in the order of their labels, so that each label's rows are one run of them.
        ordered, order = torch.sort(labels[rows], stable=True)
        lengths = torch.bincount(ordered, minlength=k)
        starts = lengths.cumsum(0) - lengths
        weights = None if sample_weights is None else sample_weights[rows][order]
        sums += torch.nn.functional.embedding_bag(
            order, x[rows], starts, mode="sum", per_sample_weights=weights
        )
        if weights is None:
            counts += lengths
        else:
            counts.index_add_(0, ordered, weights.double())
    return counts, sums

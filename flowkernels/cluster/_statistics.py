"""Sufficient statistics of the points given directions: soft and hard assignments.

Never makes the (N, K) matrix: rows are taken in blocks, the products are BLAS's, and the sums over
blocks are float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowkernels import ops

__all__ = ["assignments", "hard_statistics", "log_joint", "soft_statistics"]

# Elements of a block's (rows, K) matrix, 4 MB in float32: it stays in the cache of a CPU.
BLOCK = 1 << 20
BLOCK_ON_GPU = 1 << 26


def _blocks(x: Tensor, k: int) -> Iterator[slice]:
    """Slices of rows."""
    size = max(16, (BLOCK if x.device.type == "cpu" else BLOCK_ON_GPU) // max(1, k))
    for start in range(0, x.shape[0], size):
        yield slice(start, min(start + size, x.shape[0]))


def log_joint(x: Tensor, locs: Tensor, concentrations: Tensor, offsets: Tensor) -> Tensor:
    """offset_k + kappa_k (x_n.loc_k - 1), (N, K), which does not cancel near the mode."""
    return (x @ locs.T).sub_(1).mul_(concentrations).add_(offsets)


def soft_statistics(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    sample_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The E step of a mixture of von Mises-Fisher distributions.

    Args:
        x: unit vectors (N, p), float32 or float64.
        locs: (K, p). concentrations, log_weights: (K,). All of x's dtype.
        sample_weights: (N,), or None for ones.

    Returns:
        log density (N,) of the mixture, counts (K,) = sum_n s_n r_nk and sums (K, p) =
        sum_n s_n r_nk x_n, the last two in float64; r are the responsibilities.

    Source: Banerjee et al., JMLR 6 (2005), section 3.1.
    """
    k = locs.shape[0]
    offsets = log_weights + ops.vmf_log_peak(concentrations, x.shape[1])
    log_prob = x.new_empty(x.shape[0])
    counts = x.new_zeros(k, dtype=torch.float64)
    sums = x.new_zeros(locs.shape, dtype=torch.float64)
    for rows in _blocks(x, k):
        z = log_joint(x[rows], locs, concentrations, offsets)
        torch.logsumexp(z, 1, out=log_prob[rows])
        z.sub_(log_prob[rows, None]).exp_()
        if sample_weights is not None:
            z.mul_(sample_weights[rows, None])
        counts += z.sum(0, dtype=torch.float64)
        sums += z.T @ x[rows]
    return log_prob, counts, sums


def assignments(
    x: Tensor, locs: Tensor, concentrations: Tensor | None, offsets: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The largest offset_k + kappa_k (x_n.loc_k - 1) of each row, and its k.

    Without concentrations and offsets it is x_n.loc_k - 1, minus the cosine distance.
    """
    best, labels = x.new_empty(x.shape[0]), x.new_empty(x.shape[0], dtype=torch.int64)
    for rows in _blocks(x, locs.shape[0]):
        if concentrations is None or offsets is None:
            torch.max(x[rows] @ locs.T, 1, out=(best[rows], labels[rows]))
            best[rows] -= 1
        else:
            z = log_joint(x[rows], locs, concentrations, offsets)
            torch.max(z, 1, out=(best[rows], labels[rows]))
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

"""log|det| of diagonal and triangular matrices, by definition."""

from __future__ import annotations

from torch import Tensor


def log_det_diagonal(diag: Tensor, event_ndim: int = 1) -> Tensor:
    """sum log|d| over the last `event_ndim` dimensions."""
    dims = tuple(range(diag.ndim - event_ndim, diag.ndim))
    return diag.abs().log().sum(dims) if dims else diag.abs().log()


def log_det_triangular(matrix: Tensor) -> Tensor:
    """The sum of log|d| along the diagonal."""
    return matrix.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)

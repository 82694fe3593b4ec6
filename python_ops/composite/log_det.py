"""log|det| of diagonal and triangular matrices in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def log_det_diagonal(diag: Tensor, event_ndim: int = 1) -> Tensor:
    """sum log|diag| over the last `event_ndim` dimensions."""
    diag = diag.to(torch.promote_types(diag.dtype, torch.float32))
    logs = diag.abs().log()
    return logs.flatten(diag.ndim - event_ndim).sum(-1) if event_ndim else logs


def log_det_triangular(matrix: Tensor) -> Tensor:
    """sum log|diagonal| over the last two dimensions."""
    return log_det_diagonal(matrix.diagonal(dim1=-2, dim2=-1))


def log_det_diagonal_backward(grad_log_det: Tensor, diag: Tensor, event_ndim: int = 1) -> Tensor:
    """The gradient of `log_det_diagonal` in diag: grad / diag."""
    grad = grad_log_det.reshape([*grad_log_det.shape, *[1] * event_ndim])
    return (grad / diag.to(torch.promote_types(diag.dtype, torch.float32))).to(diag.dtype)

"""What users give as points, and the rows of unit length that the fits read from it.

NumPy arrays and tensors are read in place. Rows are converted and normalised a block at a time, and
only where they need it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Kind", "points", "unit_blocks", "unit_rows", "weights_of"]

# Bytes of a block of rows that are converted or normalised: a few CPU caches, or a GPU's buffer.
BLOCK_BYTES, BLOCK_BYTES_ON_GPU = 8 << 20, 256 << 20


@dataclass(frozen=True)
class Kind:
    """What results are returned as: NumPy arrays, or tensors on the device of the input."""

    numpy: bool
    device: torch.device
    dtype: torch.dtype  # of the arithmetic: float32 or float64

    def give(self, value: Tensor, dtype: torch.dtype | None = None) -> Any:
        """A result of float64 in the kind and dtype of the input; integers keep theirs."""
        if value.is_floating_point():
            value = value.to(dtype or self.dtype)
        return value.cpu().numpy() if self.numpy else value.to(self.device)


def _array(owner: str, X: Any) -> Tensor:
    """An array, or what becomes one, as a tensor over the same memory where that is possible."""
    if hasattr(X, "toarray"):
        raise TypeError(
            f"{owner}: X must be dense, got the sparse {type(X).__name__}; give X.toarray(), or "
            "blocks of its rows to fit_batches"
        )
    array = np.asarray(X)
    if array.dtype.kind == "c":
        raise ValueError(f"{owner}: X must be real, got {array.dtype}. Complex data not supported")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{owner}: X must hold numbers, got an array of {array.dtype}: {error}"
            ) from None
    if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        # Nothing writes to it: the array may be a read-only file in memory.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)


def points(owner: str, X: Any, least: int = 1, features: int | None = None) -> tuple[Tensor, Kind]:
    """The points as a tensor (N, p), and the kind of the results.

    `features` is p of the fit, after which another p is told from it.
    """
    if isinstance(X, Tensor):
        if X.layout != torch.strided:
            raise TypeError(f"{owner}: X must be dense, got a tensor of layout {X.layout}")
        if X.is_complex():
            raise ValueError(f"{owner}: X must be real, got {X.dtype}")
        tensor = X.detach()
    else:
        tensor = _array(owner, X)
    if tensor.ndim != 2:
        raise ValueError(
            f"{owner}: X must have shape (n_samples, n_features), got {tuple(tensor.shape)}. "
            "Reshape your data: X.reshape(1, -1) if it is one point"
        )
    n, dim = tensor.shape
    if features is not None and dim != features:
        name = owner.split(".")[0]
        raise ValueError(
            f"X has {dim} features, but {name} is expecting {features} features as input"
        )
    if dim < 2:
        raise ValueError(
            f"{owner}: {dim} feature(s) (shape={tuple(tensor.shape)}) while a minimum of 2 is "
            f"required: directions are points of R^p with p >= 2, got n_features = {dim}"
        )
    if n < least:
        raise ValueError(
            f"{owner}: n_samples = {n} must be at least {least}: Found array with {n} sample(s) "
            f"(shape={tuple(tensor.shape)}) while a minimum of {least} is required"
        )
    single = tensor.dtype in (torch.float16, torch.bfloat16, torch.float32)
    dtype = torch.float32 if single else torch.float64
    return tensor, Kind(not isinstance(X, Tensor), tensor.device, dtype)


def weights_of(owner: str, value: Any, x: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Weights (N,) on the device of x, or None for ones."""
    if value is None:
        return None
    weights = torch.as_tensor(
        value.detach() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
    )
    if weights.ndim == 0:
        weights = weights.expand(x.shape[0])
    if weights.shape != x.shape[:1]:
        raise ValueError(
            f"{owner}: sample_weight must have shape ({x.shape[0]},) for X of shape "
            f"{tuple(x.shape)}, got {tuple(weights.shape)}"
        )
    weights = weights.to(device=x.device, dtype=dtype)
    if not bool((weights >= 0).all() & weights.isfinite().all()):
        raise ValueError(f"{owner}: sample_weight must be finite and >= 0")
    return weights


def _lengths(x: Tensor) -> Tensor:
    """The rows' lengths, also where squares leave the range of the dtype."""
    lengths = torch.linalg.vector_norm(x, dim=1)
    info = torch.finfo(x.dtype)
    doubtful = ~((lengths > info.tiny**0.5 / info.eps) & (lengths < info.max**0.5))
    if doubtful.any():
        rows = x[doubtful]
        largest = rows.abs().amax(1, keepdim=True)
        scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
        # In two factors: the quotient of a subnormal number by itself is exact, its inverse is not.
        lengths[doubtful] = torch.linalg.vector_norm(rows / scale, dim=1) * scale[:, 0]
    return lengths


def unit_rows(
    owner: str, x: Tensor, dtype: torch.dtype, normalize: bool, first: int = 0
) -> tuple[Tensor, bool]:
    """Rows of unit length in the given dtype, and whether x is used as it is.

    Lengths within 16 units in the last place of 1 are left alone.
    """
    stored = x.dtype if x.is_floating_point() else dtype
    rows = x.to(dtype)
    lengths = _lengths(rows)
    away = (lengths - 1).abs_()
    if not bool(lengths.isfinite().all()):
        row = int((~lengths.isfinite()).nonzero()[0])
        raise ValueError(
            f"{owner}: X must be finite, got NaN or infinity in row {first + row}"
            if not bool(x[row].isfinite().all())
            else f"{owner}: X must have rows of finite length, got infinity in row {first + row}"
        )
    if not normalize:
        loose = torch.finfo(stored).eps ** 0.5
        if bool((away > loose).any()):
            row = int(away.argmax())
            raise ValueError(
                f"{owner}: with normalize=False, X must have rows of unit length, got length "
                f"{float(lengths[row]):.6g} in row {first + row}"
            )
        return rows, rows is x
    if bool((away <= 16 * torch.finfo(dtype).eps).all()):
        return rows, rows is x
    if bool((lengths == 0).any()):
        row = int((lengths == 0).nonzero()[0])
        raise ValueError(
            f"{owner}: X must have rows with a direction, got zeros in row {first + row}"
        )
    unit = rows / lengths[:, None]
    again = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    if bool(((again - 1).abs() > 16 * torch.finfo(dtype).eps).any()):  # subnormal lengths
        unit /= again
    return unit, False


def unit_blocks(
    owner: str, x: Tensor, dtype: torch.dtype, normalize: bool, *, ready: bool = False
) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of unit length; all rows in one block if they are `ready`."""
    n, dim = x.shape
    if ready:
        yield slice(0, n), x
        return
    limit = BLOCK_BYTES if x.device.type == "cpu" else BLOCK_BYTES_ON_GPU
    size = max(64, limit // (dim * dtype.itemsize))
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        yield rows, unit_rows(owner, x[rows], dtype, normalize, start)[0]


def is_ready(owner: str, x: Tensor, dtype: torch.dtype, normalize: bool) -> bool:
    """Whether all rows have unit length and the right dtype, so that they are used in place."""
    if x.dtype != dtype:
        return False
    limit = BLOCK_BYTES if x.device.type == "cpu" else BLOCK_BYTES_ON_GPU
    size = max(64, limit // (x.shape[1] * dtype.itemsize))
    ready = True
    for start in range(0, x.shape[0], size):
        rows = x[start : start + size]
        lengths = torch.linalg.vector_norm(rows, dim=1)
        unit = bool(((lengths - 1).abs() <= 16 * torch.finfo(dtype).eps).all())
        if not unit:  # raises for rows that cannot be used
            ready = unit_rows(owner, rows, dtype, normalize, start)[1] and ready
    return ready

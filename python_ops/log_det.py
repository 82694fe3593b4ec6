"""log|det| of diagonal and triangular matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public, under
from ._fake import require
from .composite import log_det as formulas


def _fake(diag: Tensor, event_ndim: int) -> Tensor:
    require(
        0 <= event_ndim <= diag.ndim,
        f"`event_ndim` must be between 0 and the {diag.ndim} dimensions of `diag`, got "
        f"{event_ndim}",
    )
    batch = diag.shape[: diag.ndim - event_ndim]
    return diag.new_empty(batch, dtype=torch.promote_types(diag.dtype, torch.float32))


_log_det_diagonal = declare(
    "log_det_diagonal",
    formula=formulas.log_det_diagonal,
    backward_formula=formulas.log_det_diagonal_backward,
    fake=_fake,
)
_of_triangular = under("log_det_triangular", "log_det_diagonal", diag="matrix")


def _positive(*shape: int) -> tuple[Tensor, ...]:
    return (torch.rand(shape, dtype=torch.float64) + 0.5,)


@public(
    "log_det_diagonal",
    usage="log_det_diagonal(diag)",
    same="`diag.abs().log().sum(-1)`",
    inputs=Inputs(
        tensors=lambda size: _positive(*size),
        options=lambda size: {"event_ndim": len(size) - 1},
        sizes="images",
        dtypes=("float32",),
    ),
)
def log_det_diagonal(diag: Tensor, event_ndim: int = 1) -> Tensor:
    r"""log|det| of diagonal matrices given by their diagonals.

    .. math:: \log|\det D| = \sum_i \log|d_i|

    Args:
        diag: (\*batch, \*event), float16, bfloat16, float32 or float64.
        event_ndim: how many of the last dimensions hold one diagonal.

    Returns:
        log_det (\*batch) in nats, at least float32; -inf where an element is 0.

    Raises:
        ValueError: for an `event_ndim` outside 0..diag.ndim.
        TypeError: for a dtype that is not floating.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.log_det_diagonal(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        tensor([0.6931, 2.4849])
    """
    out: Tensor = _log_det_diagonal(diag, event_ndim)
    return out


@public(
    "log_det_diagonal",
    usage="log_det_triangular(matrix)",
    same="`matrix.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)`",
    inputs=Inputs(
        tensors=lambda size: _positive(*size, size[-1]), sizes="matrices", dtypes=("float32",)
    ),
)
def log_det_triangular(matrix: Tensor) -> Tensor:
    r"""log|det| of triangular matrices: the sum of log|diagonal|.

    Args:
        matrix: (\*batch, n, n), upper or lower triangular; the other triangle is not read.

    Returns:
        log_det (\*batch) in nats, at least float32.

    Raises:
        ValueError: where the last two dimensions differ.
        TypeError: for a dtype that is not floating.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.log_det_triangular(torch.eye(3) * 2)
        tensor(2.0794)
    """
    if not isinstance(matrix, Tensor):
        raise TypeError(
            f"log_det_triangular: `matrix` must be a torch.Tensor, got {type(matrix).__name__}"
        )
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"log_det_triangular: `matrix` must have shape (*batch, n, n), got "
            f"{tuple(matrix.shape)}"
        )
    # The diagonal of a matrix that is sparse or quantized would fail in torch's own words.
    dense = matrix.layout == torch.strided and not matrix.is_quantized
    out: Tensor = _of_triangular(matrix.diagonal(dim1=-2, dim2=-1) if dense else matrix, 1)
    return out

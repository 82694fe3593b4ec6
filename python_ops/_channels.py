"""Options of ops on channels that their kernels need not know: where channels lie, and sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor

Reduction = Literal["row", "dim", "none"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)

# y and log_det of x (B, C, *S), its parameters and a kernel's reduction, "row" or "none".
Kernel = Callable[[Tensor, Tensor, str], tuple[Tensor, Tensor]]


def over_channels(
    name: str, kernel: Kernel, x: Tensor, params: Tensor, dim: int, reduction: str
) -> tuple[Tensor, Tensor]:
    """`kernel` with channels along `dim`; without a copy where the tensors are contiguous.

    Dimensions in front of the channels become rows, those behind them are space.
    """
    if reduction not in REDUCTIONS:
        names = ", ".join(REDUCTIONS)
        raise ValueError(f"{name}: `reduction` must be one of {names}, got {reduction!r}")
    tensors = isinstance(x, Tensor) and isinstance(params, Tensor)
    # What has no such dimensions the kernel itself refuses.
    if not tensors or x.ndim < 2 or params.ndim != x.ndim:
        return kernel(x, params, "row")
    if _is_second(dim) and reduction != "dim":
        return kernel(x, params, reduction)
    place = _place(name, x, dim)
    before, after = x.shape[:place], x.shape[place + 1 :]
    if (params.shape[:place], params.shape[place + 1 :]) != (before, after):
        raise ValueError(
            f"{name}: `params` must have the shape of `x` {tuple(x.shape)} except along dim "
            f"{place}, got {tuple(params.shape)}"
        )
    inside = "none" if reduction == "none" or (reduction == "dim" and after) else "row"
    y, log_det = kernel(_folded(x, place), _folded(params, place), inside)
    y = y.reshape(x.shape)
    if reduction == "none":
        return y, log_det.reshape(*before, log_det.shape[1], *after)
    if reduction == "dim":
        return y, (log_det.sum(1) if after else log_det).reshape(*before, *after)
    return y, log_det.reshape(before).flatten(1).sum(1) if place > 1 else log_det


def require_channels(
    name: str, x: Tensor, params: Tensor, parts: int, dim: int, of: str = ""
) -> None:
    """That all channels have parameters; kernels take parameters of fewer, see the split forms."""
    tensors = isinstance(x, Tensor) and isinstance(params, Tensor)
    if not tensors or not x.ndim >= 2 <= params.ndim:
        return
    place = 1 if _is_second(dim) else _place(name, x, dim)
    if params.ndim == x.ndim and params.shape[place] != parts * x.shape[place]:
        raise ValueError(
            f"{name}: `params` must have {parts} x {x.shape[place]} channels for `x` of shape "
            f"{tuple(x.shape)}{of}, got shape {tuple(params.shape)}"
        )


def _is_second(dim: Any) -> bool:
    """Whether it is dimension 1; tensors have no truth value, and `_place` refuses them."""
    return not isinstance(dim, Tensor) and bool(dim == 1)


def _place(name: str, x: Tensor, dim: int) -> int:
    """The dimension of the channels, from 1 on."""
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"{name}: `dim` must be an integer, got {dim!r:.60}")
    place = dim + x.ndim if dim < 0 else dim
    if not 0 < place < x.ndim:
        raise ValueError(
            f"{name}: `dim` must be a dimension of `x` {tuple(x.shape)} other than the first, "
            f"got {dim}"
        )
    return place


def _folded(t: Tensor, place: int) -> Tensor:
    """(rows, channels) or (rows, channels, space)."""
    if place == 1:
        return t
    rows, behind = math.prod(t.shape[:place]), t.shape[place + 1 :]
    return t.reshape(rows, t.shape[place], *([math.prod(behind)] if behind else []))

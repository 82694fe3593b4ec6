"""How a context reaches the bijections that read one.

A context is a tensor (R, c) beside the data (B, ...), R a divisor of B: each of its rows serves
B / R consecutive rows of the data. R = B gives every row its own context, R = 1 one to all. What
is computed from the context alone is thus computed once for many samples.

A bijection that reads c features says so, ``context_features = c``, and takes the context as a
second argument of ``forward`` and ``inverse``. It gets (B, c) unless it also says
``shares_context = True``. One that reads none is called without a context.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from flowkernels import arguments

__all__ = [
    "check", "common_features", "differentiated", "each_row", "features_of", "for_module",
    "forward", "grouped", "inverse", "over_rows",
]  # fmt: skip


def features_of(module: Any) -> int:
    """How many context features a module reads; 0 for one that does not say."""
    features: int = getattr(module, "context_features", 0)
    return features


def common_features(owner: str, modules: Iterable[Any]) -> int:
    """The context features that all modules that read a context agree on, 0 if none reads one."""
    found = sorted({features_of(module) for module in modules} - {0})
    if len(found) > 1:
        raise ValueError(
            f"{owner}: all parts that read a context must read the same number of features, "
            f"got {found}"
        )
    return found[0] if found else 0


def check(owner: str, context: Any, features: int, x: Tensor) -> None:
    """Raises unless the context of x (B, ...) is (R, features), R a divisor of B, or none read."""
    if not features:
        if context is not None:
            raise TypeError(
                f"{owner}: context must be None, as none is read, got {_shown(context)}"
            )
        return
    arguments.tensor(owner, "x", x)
    rows = x.shape[0] if x.ndim else 1
    arguments.tensor(owner, "context", context)
    shape = tuple(context.shape)
    fits = len(shape) == 2 and shape[1] == features
    if not fits or (rows % shape[0] if shape[0] else rows):
        raise ValueError(
            f"{owner}: context must have shape (R, {features}), R a divisor of the {rows} rows "
            f"of x, got {shape}"
        )


def _shown(context: Any) -> str:
    return f"shape {tuple(context.shape)}" if isinstance(context, Tensor) else f"{context!r:.60}"


def grouped(x: Tensor, context: Tensor) -> Tensor:
    """The rows of x (B, ...) by their context: (R, B / R, ...), a view."""
    return x.unflatten(0, (context.shape[0], _rows_of_each(context, x.shape[0])))


def over_rows(context: Tensor, rows: int) -> Tensor:
    """What belongs to each context, (R, ...), as a view (R, rows / R, ...)."""
    each = _rows_of_each(context, rows)
    return context.unsqueeze(1).expand(-1, each, *context.shape[1:])


def _rows_of_each(context: Tensor, rows: int) -> int:
    return rows // context.shape[0] if context.shape[0] else 1


def each_row(context: Tensor, rows: int) -> Tensor:
    """What belongs to each row: (R, ...) -> (rows, ...); a view for R = 1 and R = rows.

    Example:
        >>> import torch
        >>> each_row(torch.tensor([[1], [2]]), 4).T.tolist()
        [[1, 1, 2, 2]]
    """
    if context.shape[0] == rows:
        return context
    return over_rows(context, rows).flatten(0, 1)


def for_module(module: Any, context: Tensor, rows: int) -> Tensor:
    """The context as a module takes it: (rows, c), unless it shares contexts."""
    return context if getattr(module, "shares_context", False) else each_row(context, rows)


def differentiated(context: Tensor | None) -> tuple[Tensor, ...]:
    """The context, if a gradient is wanted of it."""
    return (context,) if context is not None and context.requires_grad else ()


def forward(bijection: Any, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """``bijection(x)``, with the context if it reads one."""
    pair: tuple[Tensor, Tensor]
    if context is not None and features_of(bijection):
        pair = bijection(x, for_module(bijection, context, x.shape[0]))
    else:
        pair = bijection(x)
    return pair


def inverse(bijection: Any, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """``bijection.inverse(z)``, with the context if it reads one."""
    pair: tuple[Tensor, Tensor]
    if context is not None and features_of(bijection):
        pair = bijection.inverse(z, for_module(bijection, context, z.shape[0]))
    else:
        pair = bijection.inverse(z)
    return pair

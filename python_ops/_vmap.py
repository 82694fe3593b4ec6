"""Rules under torch.vmap: what is mapped leads, and the op is called once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


def batched_first(value: Any, dim: int | None, size: int) -> Any:
    """A vmapped argument, its mapped dimension leading; what is not mapped is repeated."""
    if not isinstance(value, Tensor):
        return value
    if dim is None:
        return value.unsqueeze(0).expand(size, *value.shape)
    return value.movedim(dim, 0)


def leading_vmap(op: Function) -> Function:
    """The vmap rule of an op whose tensors all take further leading dimensions."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size = info.batch_size
        out = op(*(batched_first(a, d, size) for a, d in zip(args, in_dims, strict=True)))
        return out, tuple(0 for _ in out) if isinstance(out, tuple) else 0

    return rule


def folding_vmap(op: Function) -> Function:
    """The vmap rule of an op with exactly one batch dimension: the two are folded."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size = info.batch_size
        first = [batched_first(a, d, size) for a, d in zip(args, in_dims, strict=True)]
        rows = next(a.shape[1] for a in first if isinstance(a, Tensor))
        flat = [a.flatten(0, 1) if isinstance(a, Tensor) else a for a in first]
        out = tuple(o.reshape(size, rows, *o.shape[1:]) for o in op(*flat))
        return out, tuple(0 for _ in out)

    return rule


def looping_vmap(op: Function) -> Function:
    """The vmap rule of an op whose calls cannot be joined: one call after the other."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        def each(of_mapped: Function) -> tuple[Tensor, ...]:
            mapped = (isinstance(a, Tensor) and d is not None for a, d in pairs)
            return tuple(
                op(*(of_mapped(a, d) if m else a for (a, d), m in zip(pairs, mapped, strict=True)))
            )

        pairs = list(zip(args, in_dims, strict=True))
        if info.batch_size == 0:
            one = each(lambda a, d: a.new_zeros((*a.shape[:d], *a.shape[d + 1 :])))
            out = tuple(o.new_empty((0, *o.shape)) for o in one)
        else:
            calls = [each(lambda a, d, i=i: a.select(d, i)) for i in range(info.batch_size)]
            out = tuple(torch.stack(outputs) for outputs in zip(*calls, strict=True))
        return out, tuple(0 for _ in out)

    return rule

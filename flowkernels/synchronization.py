"""What needs the values of tensors: whether there are any, reading them, and running eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

__all__ = ["has_values", "readable_without_sync", "shown", "uncompiled"]

Function = TypeVar("Function", bound=Callable[..., object])


def uncompiled(function: Function) -> Function:
    """A decorator: the function runs eagerly also where torch.compile compiles its caller.

    As torch.compiler.disable, which imports the compiler (one to two seconds) when it decorates;
    torch's own lazy form imports it at the first call.
    """
    lazily = getattr(torch, "_disable_dynamo", torch.compiler.disable)
    return cast(Function, lazily(function))


def has_values(x: Tensor) -> bool:
    """Whether x has values: not a meta or fake tensor, nor one that torch.export traces.

    State that is kept in Python beside tensors must not change where they have none: a flow that
    is only traced keeps its own.

    Example:
        >>> has_values(torch.ones(2)), has_values(torch.ones(2, device="meta"))
        (True, False)
    """
    return not (x.is_meta or isinstance(x, (FakeTensor, FunctionalTensor)))


def shown(x: Tensor) -> str:
    """A 0-d tensor for a module's repr.

    Example:
        >>> shown(torch.tensor(0.5)), shown(torch.ones((), device="meta"))
        ('0.5', 'unknown')
    """
    return f"{x.item():.6g}" if has_values(x) else "unknown"


def readable_without_sync(x: Tensor) -> bool:
    """Whether the host can read x's values at no cost.

    True on the CPU. On a GPU a read would synchronise host and device, which is an error during
    CUDA graph capture. Meta tensors, fake tensors and tensors under torch.compile have no values,
    and those under torch.func's transforms may stand for many.

    Example:
        >>> readable_without_sync(torch.ones(2))
        True
        >>> readable_without_sync(torch.ones(2, device="meta"))
        False
    """
    plain = x.is_cpu and type(x) in (Tensor, nn.Parameter) and not torch.compiler.is_compiling()
    return plain and not torch._C._functorch.is_functorch_wrapped_tensor(x)

"""Whether a tensor's values can be read without a host synchronization."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["readable_without_sync"]


def readable_without_sync(x: Tensor) -> bool:
    """Whether the host can read x's values at no cost.

    True on the CPU. On a GPU a read would synchronise host and device, which is an error during
    CUDA graph capture. Meta tensors, fake tensors and tensors under torch.compile have no values.

    Example:
        >>> readable_without_sync(torch.ones(2))
        True
        >>> readable_without_sync(torch.ones(2, device="meta"))
        False
    """
    return x.is_cpu and type(x) in (Tensor, nn.Parameter) and not torch.compiler.is_compiling()

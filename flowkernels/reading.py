"""When a decision may depend on the values in a tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["reads_freely"]


def reads_freely(x: Tensor) -> bool:
    """Whether looking at x's values costs nothing and is possible.

    It is on the CPU. On a GPU the host would wait for the device, and could not while a CUDA graph
    is captured; tensors on "meta", fake tensors and those of torch.compile have no values.

    Example:
        >>> reads_freely(torch.ones(2)), reads_freely(torch.ones(2, device="meta"))
        (True, False)
    """
    return x.is_cpu and type(x) in (Tensor, nn.Parameter) and not torch.compiler.is_compiling()

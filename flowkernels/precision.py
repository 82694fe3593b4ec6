"""Autocast on any device type, including those without autocast support."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["autocasts", "full_precision"]


def autocasts(device: str) -> bool:
    """Whether autocast is on for a device type; False where torch would raise (meta).

    Example:
        >>> autocasts("cpu"), autocasts("meta")
        (False, False)
    """
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def full_precision(x: Tensor) -> AbstractContextManager[None]:
    """A context with autocast disabled on x's device.

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision(x):
        ...     (x @ x).dtype
        torch.float32
    """
    device = x.device.type
    return torch.autocast(device, enabled=False) if autocasts(device) else nullcontext()

"""Autocast on devices of every kind, those that have none included."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["autocasts", "full_precision"]


def autocasts(device: str) -> bool:
    """Whether autocast is on for a type of device; torch itself raises where there is none (meta).

    Example:
        >>> autocasts("cpu"), autocasts("meta")
        (False, False)
    """
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def full_precision(x: Tensor) -> AbstractContextManager[None]:
    """No autocast on x's device.

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision(x):
        ...     (x @ x).dtype
        torch.float32
    """
    device = x.device.type
    return torch.autocast(device, enabled=False) if autocasts(device) else nullcontext()

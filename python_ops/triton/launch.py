"""Launching kernels: on the device, or into the graph that torch.compile is tracing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_state = threading.local()


@contextmanager
def into_graph() -> Iterator[None]:
    """Kernels launched inside become nodes of the graph being traced."""
    _state.tracing = True
    try:
        yield
    finally:
        _state.tracing = False


def tracing() -> bool:
    """Whether launches go into a graph."""
    return getattr(_state, "tracing", False)


def launch(kernel: Any, programs: Any, like: Tensor, *args: Any, **options: Any) -> None:
    """Runs `programs` programs of a kernel on the device of `like`."""
    if programs == 0:
        return
    grid = (programs,)
    if tracing():
        torch.library.wrap_triton(kernel)[grid](*args, **options)
        return
    # Contraction of a * b + c: every kernel is right either way, and faster with it.
    options["enable_fp_fusion"] = True
    if like.is_cuda and like.device.index != torch.cuda.current_device():
        with torch.cuda.device(like.device):
            kernel[grid](*args, **options)
    else:
        kernel[grid](*args, **options)

"""Numbers that kernels read from the memory of the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def make_table(numbers: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers on the device; the caller keeps them for all later calls.

    They are copied there, for which the host waits: at the first call of an order, or of an op,
    and never again.

    Raises:
        RuntimeError: a CUDA graph is being captured, which cannot hold that copy.
    """
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "flowkernels: a table is copied to the GPU at the first call of an op (of the Bessel "
            "functions, at the first of each order): make that call before capturing a CUDA graph"
        )
    return torch.tensor(numbers, dtype=dtype, device=device)

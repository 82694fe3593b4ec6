r"""One rule for the ops on rows: batches broadcast, rows do not.

An argument with rows has the shape (\*batch, n); one with a number for each row, (\*batch). The
batches broadcast as everywhere in torch. Numbers of rows may also be a Python number or a (nested)
list of numbers. The couplings are no ops on rows: their arguments have one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._errors import is_number


def numbers(
    op: str,
    argument: str,
    value: Any,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Numbers of rows as a tensor: of a Python number or a nested list of them."""
    if is_number(value):
        # Filled in: `as_tensor` would copy it to the device.
        if torch.finfo(dtype).max < abs(float(value)) < float("inf"):
            raise ValueError(
                f"{op}: `{argument}` must be a number within the range of {dtype}, got {value:g}"
            )
        return torch.full((), float(value), dtype=dtype, device=device)
    if isinstance(value, (list, tuple)):
        try:
            return torch.tensor(value, dtype=dtype, device=device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise TypeError(
                f"{op}: `{argument}` must be a torch.Tensor, a number or a list of numbers: {error}"
            ) from None
    raise TypeError(
        f"{op}: `{argument}` must be a torch.Tensor, a number or a list of numbers, got "
        f"{type(value).__name__}"
    )


def common_batch(op: str, batches: Sequence[tuple[str, Sequence[int]]]) -> torch.Size:
    """The shape to which the batches of arguments broadcast, or an error that names two of them."""
    first, shape = batches[0][0], torch.Size(batches[0][1])
    for argument, batch in batches[1:]:
        try:
            shape = torch.broadcast_shapes(shape, tuple(batch))
        except RuntimeError:
            raise ValueError(
                f"{op}: the batch of `{argument}` {tuple(batch)} does not broadcast against that "
                f"of `{first}` {tuple(shape)}"
            ) from None
    return shape

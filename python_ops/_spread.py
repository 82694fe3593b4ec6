"""Expanding a number whose gradient shall not depend on the number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

# torch sums more elements than these (at::internal::GRAIN_SIZE) to one number in as many parts as
# there are threads.
_SUMMED_SERIALLY = 32768
_COLUMNS = 64


def spread(value: Tensor, shape: Sequence[int]) -> Tensor:
    """`value.expand(shape)`; the gradient of one number is summed in parts of a fixed size."""
    count = math.prod(shape)
    if value.numel() != 1 or count <= _SUMMED_SERIALLY or not value.is_cpu:
        return value.expand(shape)
    columns = value.reshape(1).expand(_COLUMNS)
    rows = columns.expand(-(-count // _COLUMNS), _COLUMNS)
    return rows.reshape(-1)[:count].reshape(shape)

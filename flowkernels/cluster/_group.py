"""The processes that fit together: sums over all of them, and rows from all of them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Group"]


class Group:
    """One process, or those of torch.distributed's default group.

    Args:
        owner: the estimator's name, for errors.
        distributed: whether the processes of the default group fit together.
    """

    def __init__(self, owner: str, distributed: bool) -> None:
        if distributed and not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                f"{owner}: distributed=True needs torch.distributed.init_process_group first"
            )
        self.size = dist.get_world_size() if distributed else 1
        self.rank = dist.get_rank() if distributed else 0

    def sum(self, *tensors: Tensor) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def first(self, *tensors: Tensor) -> None:
        """Replaces each tensor by that of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def concatenate(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks."""
        if self.size == 1:
            return rows
        count = torch.tensor([rows.shape[0]], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(self.size)]
        dist.all_gather(counts, count)
        most = max(int(each) for each in counts)
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: rows.shape[0]] = rows
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([g[: int(c)] for g, c in zip(gathered, counts, strict=True)])

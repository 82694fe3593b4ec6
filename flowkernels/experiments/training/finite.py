"""Detects non-finite losses and gradients without a host synchronization at every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FiniteSteps", "NonFiniteError"]


class NonFiniteError(RuntimeError):
    """The loss or its gradient is not finite; the weights were not changed by that step.

    Attributes:
        good_steps: number of steps before it; the weights are those after these steps.
    """

    def __init__(self, message: str, good_steps: int = -1) -> None:
        super().__init__(message)
        self.good_steps = good_steps


@dataclass
class NonFinite:
    """The first step that was not finite, and the number of steps before it since the last look."""

    after: int
    loss: float
    gradient_norm: float


class FiniteSteps:
    """Counts steps on the device until one is not finite, and stores the values of that step.

    From then on ``stop`` is 1. A fused optimiser with ``found_inf = stop`` skips all further
    updates, so the weights and its state are those of the last good step, even if the host looks
    some steps later.

    Args:
        device: of the loss.

    Example:
        >>> steps = FiniteSteps(torch.device("cpu"))
        >>> for loss in (2.0, 1.0, float("nan"), 5.0):
        ...     steps.add(torch.tensor(loss), torch.tensor(1.0))
        >>> steps.look()
        NonFinite(after=2, loss=nan, gradient_norm=1.0)
    """

    def __init__(self, device: torch.device) -> None:
        # AdamW's kernel expects float32.
        self.stop = torch.zeros((), dtype=torch.float32, device=device)
        self._good = torch.zeros((), dtype=torch.float32, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._norm = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, loss: Tensor, gradient_norm: Tensor) -> None:
        """Add a step's loss and gradient norm. All processes agree on which step was finite."""
        stopped = self.stop > 0
        torch.where(stopped, self._loss, loss.double(), out=self._loss)
        torch.where(stopped, self._norm, gradient_norm.double(), out=self._norm)
        finite = loss.isfinite() & gradient_norm.isfinite()
        self.stop.copy_(stopped | ~finite)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.stop, torch.distributed.ReduceOp.MAX)
        self._good += 1 - self.stop

    def look(self) -> NonFinite | None:
        """The first non-finite step since the last look, or None; synchronises with the device."""
        numbers = (self._good.double(), self.stop.double(), self._loss, self._norm)
        good, stop, loss, norm = torch.stack(numbers).tolist()
        self._good.zero_()
        return NonFinite(int(good), loss, norm) if stop else None

"""Whether training's numbers are finite, without waiting for the device at every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FiniteSteps", "NonFiniteError"]


class NonFiniteError(RuntimeError):
    """The loss or its gradient stopped being a number; the weights were left as they were.

    Attributes:
        good_steps: how many steps were taken before; the weights are theirs.
    """

    def __init__(self, message: str, good_steps: int = -1) -> None:
        super().__init__(message)
        self.good_steps = good_steps


@dataclass
class NonFinite:
    """The first step that was not finite, and how many were before it since the last look."""

    after: int
    loss: float
    gradient_norm: float


class FiniteSteps:
    """Counts steps on the device until one is not finite, and keeps that one's numbers.

    Once a step was not, ``stop`` is 1 and stays so. A fused optimiser that has it as its
    ``found_inf`` leaves weights and state as they are from there on, so that looking some steps
    later finds them as the last good step left them.

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
        self.stop = torch.zeros((), dtype=torch.float32, device=device)  # as AdamW's kernel asks
        self._good = torch.zeros((), dtype=torch.float32, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._norm = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, loss: Tensor, gradient_norm: Tensor) -> None:
        """A step's loss and the norm of its gradient. All processes agree on what was finite."""
        stopped = self.stop > 0
        torch.where(stopped, self._loss, loss.double(), out=self._loss)
        torch.where(stopped, self._norm, gradient_norm.double(), out=self._norm)
        finite = loss.isfinite() & gradient_norm.isfinite()
        self.stop.copy_(stopped | ~finite)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.stop, torch.distributed.ReduceOp.MAX)
        self._good += 1 - self.stop

    def look(self) -> NonFinite | None:
        """What was not finite since the last look, if anything; this waits for the device."""
        numbers = (self._good.double(), self.stop.double(), self._loss, self._norm)
        good, stop, loss, norm = torch.stack(numbers).tolist()
        self._good.zero_()
        return NonFinite(int(good), loss, norm) if stop else None

"""The errors of a run."""

from __future__ import annotations

__all__ = ["RunError", "TimeLimitError"]


class RunError(RuntimeError):
    """A run's folder lacks a file or has a wrong one."""


class TimeLimitError(Exception):
    """The time is up; the state is saved, and resuming goes on from it.

    Attributes:
        step: optimiser steps done.
        total: the run's number of steps.
    """

    def __init__(self, message: str, *, step: int, total: int) -> None:
        super().__init__(message)
        self.step = step
        self.total = total

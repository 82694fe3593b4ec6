"""The error of a run's files."""

from __future__ import annotations

__all__ = ["RunError"]


class RunError(RuntimeError):
    """A run's folder lacks a file or has a wrong one."""

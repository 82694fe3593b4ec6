"""A task: a part of a study that runs independently in its own folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """One result of a study.

    Attributes:
        name: of the task and of its folder.
        execute: computes the result (plain values for JSON) in the given folder; if called again
            after an interruption, it resumes and returns the same result.
    """

    name: str
    execute: Callable[[Path], dict[str, Any]]

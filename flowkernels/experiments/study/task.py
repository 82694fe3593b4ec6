"""A piece of a study that runs on its own, in a folder of its own."""

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
        execute: computes the result, plain values for JSON, in the folder given; called again
            on a folder where it was interrupted, it goes on and returns the same.
    """

    name: str
    execute: Callable[[Path], dict[str, Any]]

"""Whether a run's folder can be made, asked before anything takes time."""

from __future__ import annotations

import os
from pathlib import Path

from flowkernels.experiments.training import RunError

__all__ = ["require_writable"]


def require_writable(folder: Path) -> None:
    """Raises a RunError for a folder in which no file can be made."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise RunError(f"{existing}: is a file; a run needs a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{folder}: {existing} is not writable; choose another folder for the run")

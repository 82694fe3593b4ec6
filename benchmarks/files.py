"""Files of results, written atomically."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write(path: Path, save: Callable[[Path], object]) -> Path:
    """Lets `save` write a file beside `path`, which then takes its place.

    If the process is killed in between, the old file remains.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    save(partial)
    return partial.replace(path)


def write_text(path: Path, text: str) -> Path:
    """Writes a text."""
    return write(path, lambda partial: partial.write_text(text))

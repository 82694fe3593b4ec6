"""Numbers of a study as text."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowkernels.data.files import atomic_write

__all__ = ["markdown_table", "mean_and_spread", "write_json", "write_text"]


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean +- standard deviation over seeds (n - 1); the value alone where there is one seed.

    Example:
        >>> mean_and_spread([1.0, 2.0, 3.0], 2)
        '2.00 ± 1.00'
    """
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    text[1] = "|" + "---|" * len(head)
    return "\n".join(text)


def write_text(path: Path, text: str) -> Path:
    """Write a text file as a whole."""
    with atomic_write(path) as file:
        file.write((text.rstrip() + "\n").encode())
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write plain values as JSON."""
    return write_text(path, json.dumps(value, indent=2))

"""Formats the numbers of a study."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["markdown_table", "mean_and_spread"]


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean +- standard deviation over seeds (n - 1); only the value if there is one seed.

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

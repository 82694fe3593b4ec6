"""Differences between runs with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from flowkernels.experiments.data.extras import require

__all__ = ["Difference", "paired_difference"]

_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences.

    Attributes:
        mean: of the differences.
        standard_error: of the mean, s / sqrt(n) with s the standard deviation of the differences;
            None for one pair.
        half_width: of the 95 % confidence interval by Student's t with n - 1 degrees of freedom;
            None for one pair. It assumes that the differences are normally distributed.
        values: the differences.
    """

    mean: float
    standard_error: float | None
    half_width: float | None
    values: tuple[float, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the confidence interval excludes zero."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """The mean of value - reference, paired by position.

    What both runs of a pair share, such as the seed of the data's order and of the noise, cancels.

    Raises:
        ValueError: the sequences differ in length or are empty.

    Example:
        >>> difference = paired_difference([3.1, 3.2, 3.6], [3.0, 3.1, 3.5])
        >>> round(difference.mean, 6), difference.is_clear
        (0.1, True)
    """
    if len(values) != len(reference) or not values:
        raise ValueError(
            f"values: expected as many as in reference, at least one, got {len(values)} and "
            f"{len(reference)}"
        )
    differences = tuple(a - b for a, b in zip(values, reference, strict=True))
    mean, count = statistics.fmean(differences), len(differences)
    if count == 1:
        return Difference(mean, None, None, differences)
    require("scipy", extra="study", purpose="confidence intervals")
    from scipy.stats import t

    error = statistics.stdev(differences) / math.sqrt(count)
    half_width = float(t.ppf((1 + _LEVEL) / 2, count - 1)) * error
    return Difference(mean, error, half_width, differences)

"""A limit of the time that a command may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flowkernels.experiments.training.settings import ConfigError

__all__ = ["TimeLimit"]


class TimeLimit:
    """The end of the time that training or a study may take.

    Args:
        minutes: from now on; None for no limit.
        clock: seconds since any moment; it must not go backwards.

    Raises:
        ConfigError: `minutes` is negative or not finite.

    Example:
        >>> seconds = iter([100.0, 130.0, 161.0])
        >>> limit = TimeLimit(1, clock=lambda: next(seconds))
        >>> limit.is_over(), limit.is_over()
        (False, True)
        >>> TimeLimit().is_over()
        False
    """

    def __init__(
        self, minutes: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if minutes is not None and not 0 <= minutes < math.inf:
            raise ConfigError(f"minutes: expected a number from 0, got {minutes!r}")
        self._clock = clock
        self._end = None if minutes is None else clock() + 60 * minutes

    @property
    def is_set(self) -> bool:
        """Whether there is an end."""
        return self._end is not None

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and self._clock() >= self._end

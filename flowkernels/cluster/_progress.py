"""A line or a bar for each fit."""

from __future__ import annotations

from types import TracebackType
from typing import Any

__all__ = ["Progress"]


class Progress:
    """A bar of passes where tqdm is installed, else a line for each pass; silent unless asked.

    Args:
        owner: the estimator's name.
        verbose: whether anything is shown.
        label: what the objective is called.
        total: the largest number of passes.
    """

    def __init__(self, owner: str, verbose: bool, label: str, total: int) -> None:
        self.owner, self.verbose, self.label, self.total = owner, verbose, label, total
        self.passes = 0
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if self.verbose:
            try:
                from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
            except ImportError:
                return self
            self.bar = tqdm(total=self.total, desc=self.owner, unit="pass")
        return self

    def step(self, objective: float) -> None:
        """One pass is done."""
        self.passes += 1
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix({self.label: f"{objective:.6g}"})
        elif self.verbose:
            print(f"{self.owner}: pass {self.passes}, {self.label} {objective:.8g}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()

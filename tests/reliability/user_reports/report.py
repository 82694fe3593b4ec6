"""A report of a fault that users of another package met, and what this package does instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """One report with its check.

    Attributes:
        url: where the report can be read.
        said: the fault, in our words.
        here: what this package does.
        outcome: "held" if it did so when first tried, "fixed" if it had the fault too.
        check: fails where the fault is back.
    """

    url: str
    said: str
    here: str
    outcome: str
    check: Callable[[], None]

    @property
    def name(self) -> str:
        """Repository and number, such as ``pytorch#88443``."""
        _, repository, _, number = self.url.removeprefix("https://github.com/").split("/")
        return f"{repository}#{number}"


REPORTS: list[Report] = []


def report(
    path: str, said: str, here: str, outcome: str = "held"
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Adds the decorated check to the reports; `path` is that of a page on github.com."""

    def add(check: Callable[[], None]) -> Callable[[], None]:
        REPORTS.append(Report(f"https://github.com/{path}", said, here, outcome, check))
        return check

    return add

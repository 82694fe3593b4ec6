"""How often replaced methods ran, and what was left to the libraries and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Record", "Report", "record_of", "report"]


@dataclass
class Record:
    """What happened to the modules of one class.

    Attributes:
        library, name: of the class.
        served: calls that flowkernels computed.
        left: calls that the library computed, by the reason.
        accelerated: modules that `accelerate` took over.
        left_modules: modules that it did not, by the reason.
    """

    library: str
    name: str
    served: int = 0
    left: Counter[str] = field(default_factory=Counter)
    accelerated: int = 0
    left_modules: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Record:
        """The counts as they are now."""
        return Record(
            self.library, self.name, self.served, Counter(self.left), self.accelerated,
            Counter(self.left_modules),
        )  # fmt: skip

    def clear(self) -> None:
        """All counts to 0."""
        self.served = self.accelerated = 0
        self.left.clear()
        self.left_modules.clear()

    @property
    def used(self) -> bool:
        """Whether anything was counted."""
        return bool(self.served or self.left or self.accelerated or self.left_modules)


_RECORDS: dict[tuple[str, str], Record] = {}


def record_of(library: str, name: str) -> Record:
    """The counts of a class, which continue."""
    return _RECORDS.setdefault((library, name), Record(library, name))


class Report:
    """What replaced classes did since the last reset; printing it shows a line a class.

    Calls inside `torch.compile` are not counted: the compiled code no longer passes here.

    Attributes:
        records: a :class:`Record` for each class of which anything was counted, by
            "library.Class".

    Example:
        >>> from flowkernels import adapters
        >>> adapters.report().reset()
        >>> print(adapters.report())
        nothing was replaced
    """

    def __init__(self) -> None:
        used = [record.copy() for record in _RECORDS.values() if record.used]
        self.records = {f"{r.library}.{r.name}": r for r in used}

    @property
    def served(self) -> int:
        """All calls that flowkernels computed."""
        return sum(record.served for record in self.records.values())

    @property
    def left(self) -> int:
        """All calls that the libraries computed."""
        return sum(record.left.total() for record in self.records.values())

    def reset(self) -> None:
        """Sets the counts of the process to 0; this report keeps its own."""
        for record in _RECORDS.values():
            record.clear()

    def __str__(self) -> str:
        lines: list[str] = []
        for name, record in self.records.items():
            lines.append(
                f"{name}: {record.served} calls served, {record.left.total()} left to the library; "
                f"{record.accelerated} modules accelerated, {record.left_modules.total()} left"
            )
            lines += [f"    {n} calls left: {why}" for why, n in record.left.items()]
            lines += [f"    {n} modules left: {why}" for why, n in record.left_modules.items()]
        return "\n".join(lines) or "nothing was replaced"

    __repr__ = __str__


def report() -> Report:
    """How often each replaced class ran on our kernels since the last reset, and what did not.

    A replacement that is never reached computes correct results, too: look here before trusting a
    measurement.

    Returns:
        A snapshot, see :class:`Report`; ``report().reset()`` starts the counts anew.

    Example:
        >>> from flowkernels import adapters
        >>> adapters.report().reset()
        >>> adapters.report().served
        0
    """
    return Report()

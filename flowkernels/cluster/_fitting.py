"""The loop of a fit: evaluate, update, until the objective stands still."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from ._group import Group
from ._progress import Progress
from ._sources import Source

__all__ = ["Evaluation", "Fit", "Model", "fit", "next_statistics"]

State = TypeVar("State")


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the points gives, summed over all processes.

    Attributes:
        objective: per unit of weight; larger is better.
        counts: (K,), sums: (K, p), both in float64; of the assignments under the state.
        total: the sum of all weights.
    """

    objective: float
    counts: Tensor
    sums: Tensor
    total: float


class Model(Protocol[State]):
    """What is fitted."""

    def evaluate(self, state: State, source: Source, group: Group) -> Evaluation:
        """One pass over the points."""

    def update(self, state: State, found: Evaluation, source: Source | None, group: Group) -> State:
        """The state that is best for these assignments."""

    def settled(self, old: float, new: float) -> bool:
        """Whether the objective has stopped to rise."""


@dataclass(frozen=True)
class Fit(Generic[State]):
    """The last state, with the evaluation of that very state."""

    state: State
    found: Evaluation
    history: list[float]
    updates: int
    converged: bool


def _climb(
    model: Model[State],
    source: Source,
    state: State,
    group: Group,
    max_iter: int,
    progress: Progress,
) -> Fit[State]:
    found = model.evaluate(state, source, group)
    history = [found.objective]
    progress.step(found.objective)
    for updates in range(1, max_iter + 1):
        state = model.update(state, found, source, group)
        found = model.evaluate(state, source, group)
        history.append(found.objective)
        progress.step(found.objective)
        if model.settled(history[-2], history[-1]):
            return Fit(state, found, history, updates, True)
    return Fit(state, found, history, max_iter, False)


def fit(
    model: Model[State],
    source: Source,
    starts: Iterable[State],
    group: Group,
    max_iter: int,
    progress: Progress,
) -> Fit[State]:
    """The best of the fits from these starts.

    A fit takes one pass more than it makes updates: the objective that is reported belongs to the
    state that is returned.
    """
    best: Fit[State] | None = None
    with progress:
        for state in starts:
            found = _climb(model, source, state, group, max_iter, progress)
            if best is None or found.found.objective > best.found.objective:
                best = found
    assert best is not None  # n_init >= 1
    return best


def next_statistics(old: Evaluation | None, new: Evaluation, step: float) -> Evaluation:
    """The decaying averages of a stream: (1 - step) old + step new, per unit of weight.

    Source: Cappé & Moulines, On-line expectation-maximization algorithm for latent data models,
    JRSS B 71 (2009), eq. 11.
    """
    counts, sums = new.counts / new.total, new.sums / new.total
    if old is not None:
        counts = old.counts.to(counts.device).lerp(counts, step)
        sums = old.sums.to(sums.device).lerp(sums, step)
    return Evaluation(new.objective, counts, sums, 1.0)

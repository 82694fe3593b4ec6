"""Fewer trials of the shared checker, for slow machines: the emulator and Triton's interpreter.

    python -m pytest -p tests.ops.covering ...

Of the trials of one test and case, those are kept that have among them

- every sample's tensors in every precision,
- every value of every option in every precision,
- every pair of values of two options that some sample has.

Tests that name no precision repeat each trial in many layouts of memory, or for many wrong
arguments; of pairs of options they need none. The CPU's kernels, which have the same formulas,
see every sample in every precision.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Hashable, Sequence

import pytest

from .case import Sample, Trial

Setting = tuple[str, Hashable]
NONE = "None"  # the precision of a test that names none


def tensors_of(sample: Sample) -> str:
    """A digest of the tensors: samples that differ in their options alone share it."""
    value = hashlib.sha256()
    for t in sample.tensors:
        value.update(repr((tuple(t.shape), t.dtype)).encode())
        value.update(t.detach().contiguous().cpu().numpy().tobytes())
    return value.hexdigest()


def settings(sample: Sample, precision: str) -> set[frozenset[Setting]]:
    """What a trial covers."""
    options = [(name, repr(value)) for name, value in sorted(sample.options.items())]
    by_precision: list[Setting] = [("tensors", tensors_of(sample)), *options]
    found = {frozenset([one, ("precision", precision)]) for one in by_precision}
    if precision != NONE:
        found |= {frozenset(pair) for pair in itertools.combinations(options, 2)}
    return found


def covering(trials: Sequence[tuple[Sample, str]]) -> set[int]:
    """Numbers of trials, samples with precisions, that cover what all of them do.

    Greedy: each is the one that covers the most of what is still missing, the first of several.
    """
    covered = [settings(sample, precision) for sample, precision in trials]
    missing: set[frozenset[Setting]] = set().union(*covered)
    chosen = set()
    while missing:
        best = max(range(len(covered)), key=lambda n: len(covered[n] & missing))
        missing -= covered[best]
        chosen.add(best)
    return chosen


def thin(items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests that are kept, in their order, and those that are left out."""
    groups: dict[tuple[str, str], list[tuple[pytest.Item, Sample, str]]] = {}
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        trial = params.get("trial")
        if isinstance(trial, Trial):
            group = (item.nodeid.partition("[")[0], str(trial.case))
            precision = str(params.get("dtype", NONE))
            groups.setdefault(group, []).append((item, trial.sample, precision))
    out: set[pytest.Item] = set()
    for group in groups.values():
        kept = covering([(sample, precision) for _, sample, precision in group])
        out |= {item for n, (item, _, _) in enumerate(group) if n not in kept}
    return [i for i in items if i not in out], [i for i in items if i in out]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is covered, where this module is given as a plugin."""
    items[:], left_out = thin(items)
    config.hook.pytest_deselected(items=left_out)

"""The trials that slow machines run cover those that they leave out."""

from __future__ import annotations

import itertools

import torch

from . import covering
from .case import ALL_DTYPES, Case, Sample
from .cases import CASES

PRECISIONS = [str(dtype) for dtype in ALL_DTYPES]


def trials(case: Case) -> list[tuple[Sample, str]]:
    return list(itertools.product(case.samples(), PRECISIONS))


def named(case: str) -> Case:
    (found,) = (c for c in CASES if str(c) == case)
    return found


def test_every_setting_is_covered() -> None:
    """Written out for itself: tensors and options in every precision, options in pairs."""
    for case in CASES:
        every = trials(case)
        chosen = [every[n] for n in covering.covering(every)]
        assert {(covering.tensors_of(s), p) for s, p in chosen} == {
            (covering.tensors_of(s), p) for s, p in every
        }, case
        assert {(k, str(v), p) for s, p in chosen for k, v in s.options.items()} == {
            (k, str(v), p) for s, p in every for k, v in s.options.items()
        }, case
        pairs = [
            {
                ((j, str(a)), (k, str(b)))
                for s, _ in some
                for (j, a), (k, b) in itertools.permutations(s.options.items(), 2)
            }
            for some in (chosen, every)
        ]
        assert pairs[0] == pairs[1], case


def test_the_coupling_has_fewer_trials() -> None:
    every = trials(named("affine_coupling"))
    assert len(covering.covering(every)) < len(every) / 2


def test_other_values_are_other_tensors() -> None:
    samples = [Sample("a", (torch.zeros(3),)), Sample("b", (torch.zeros(3, 1),))]
    samples += [Sample("c", (torch.ones(3),)), Sample("d", (torch.zeros(3),))]
    assert covering.covering([(s, "float32") for s in samples]) == {0, 1, 2}


def test_without_a_precision_pairs_of_options_are_not_wanted() -> None:
    options = [{"a": a, "b": b} for a, b in itertools.product((1, 2), (1, 2))]
    samples = [Sample("", (torch.zeros(1),), o) for o in options]
    assert covering.covering([(s, covering.NONE) for s in samples]) == {0, 3}
    assert covering.covering([(s, "float32") for s in samples]) == {0, 1, 2, 3}

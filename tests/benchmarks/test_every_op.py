"""The measurements that the ops' pages show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import every_op
from flowkernels.ops._declaration import PUBLIC


def test_every_op_has_sizes_and_a_formula_to_compare_with() -> None:
    for op in PUBLIC.values():
        rows = every_op.rows_of(op)
        assert len(rows) == (3 if op.random else 6), op.name
        for row in rows:
            assert every_op.formulas(row), row.label


@pytest.mark.parametrize("name", ["slerp", "vmf_sample", "affine_coupling_split_backward"])
def test_a_row_has_times_and_errors(name: str) -> None:
    threads = torch.get_num_threads()
    try:
        found = every_op.measure(every_op.rows_of(PUBLIC[name])[0], "cpu", rounds=3)
    finally:
        torch.set_num_threads(threads)
    assert set(found["microseconds"]) >= {"flowkernels", "plain"}
    assert all(time >= 0 for time in found["microseconds"].values())
    if PUBLIC[name].random:
        assert "errors" not in found
    else:
        assert 0 <= found["errors"]["flowkernels"] < 1e-6
        assert found["errors"]["plain"] < 1e-3


def test_errors_that_are_not_finite_are_none() -> None:
    one = torch.ones(2)
    assert every_op._error(one, one.double()) == 0
    assert every_op._error(one * torch.nan, one.double()) is None
    assert every_op._error((one, one + 0.5), (one.double(), one.double())) == 0.5


def test_an_unknown_op_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["every_op", "slurp"])
    with pytest.raises(SystemExit):
        every_op.main()
    assert "no public op is called slurp" in capsys.readouterr().err


def test_the_committed_results_are_of_public_ops() -> None:
    result = json.loads(Path(every_op.RESULTS).read_text())
    assert result["refused"] == {}
    assert {row["op"] for row in result["rows"]} <= set(PUBLIC)
    assert not result["machine"]["uncommitted_changes"]

"""Context and modelled columns of a table; errors that name the setting and the column."""

import numpy as np
import pytest
import torch

from flowkernels.experiments.data.columns import context_names, load_table_dataset
from flowkernels.experiments.data.errors import DataError
from tests.experiments.tabular import write


def test_columns_keep_their_order_and_units(tmp_path):
    path = write(tmp_path / "rows.csv", 100)
    table = load_table_dataset(path, "b,a", val=0.2, test=0.1)
    assert (table.columns, table.modelled, table.context) == (
        ("x", "a", "b", "y"),
        ("x", "y"),
        ("b", "a"),
    )
    assert [len(part) for part in (table.train, table.val, table.test)] == [70, 20, 10]
    raw = np.loadtxt(path, delimiter=",", skiprows=1)[:, [0, 3, 2, 1]]
    rows = torch.cat([table.train, table.val, table.test]).numpy()
    assert np.allclose(np.sort(rows, 0), np.sort(raw, 0), rtol=1e-6)
    x, context = table.split(table.train)
    assert torch.equal(torch.cat([x, context], 1), table.train)
    whole = load_table_dataset(path)
    assert whole.context == ()
    assert whole.split(whole.train)[1] is None


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_columns_without_names_have_numbers(tmp_path, suffix):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    path = tmp_path / f"rows{suffix}"
    if suffix == ".csv":
        np.savetxt(path, rows, delimiter=",")
    else:
        (np.save if suffix == ".npy" else np.savez)(path, rows)
    table = load_table_dataset(path, "2")
    assert (table.modelled, table.context) == (("1", "3"), ("2",))


def test_names_with_commas_are_quoted(tmp_path):
    path = write(tmp_path / "rows.csv", 50, header='x,"a,1", b ,y')
    assert load_table_dataset(path, '"a,1",b').modelled == ("x", "y")
    assert context_names(None) == ()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("nope", r"context: expected columns of .*rows.csv, which has x, a, b, y; got 'nope'"),
        ("1", r"which has x, a, b, y; got '1'"),
        ("a,b,x,y", r"context: expected some of the columns of .*, got all of them \(x, a, b, y\)"),
        ("a,a", "context: expected different columns, got 'a' twice"),
        ("a,,b", "context: expected columns separated by commas, got 'a,,b'"),
        ("", "context: expected columns separated by commas, got ''"),
    ],
)
def test_wrong_contexts(tmp_path, context, message):
    with pytest.raises(DataError, match=message):
        load_table_dataset(write(tmp_path / "rows.csv", 50), context)


def test_an_ambiguous_name_is_refused_where_it_matters(tmp_path):
    path = write(tmp_path / "rows.csv", 50, header="x,a,a,y")
    with pytest.raises(DataError, match="got 'a', the name of 2 columns"):
        load_table_dataset(path, "a")
    assert load_table_dataset(path, "x").modelled == ("a", "a", "y")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (0, r"column 'x': expected values that vary, got 7 in all 40 .* has no density"),
        (1, r"column 'a': expected values that vary, got 7 .*: a constant column tells nothing"),
    ],
)
def test_constant_columns(tmp_path, column, message):
    def constant(rows):
        rows[:, column] = 7
        return rows

    with pytest.raises(DataError, match=message):
        load_table_dataset(write(tmp_path / "rows.csv", 50, rows=constant), "a,b")


def test_a_column_too_fine_for_float32(tmp_path):
    rows = np.random.default_rng(0).normal([1e9, 0.0], size=(50, 2))
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(DataError, match=r"column '1': .*float32 can resolve.*--precision 64-true"):
        load_table_dataset(tmp_path / "rows.npy")
    table = load_table_dataset(tmp_path / "rows.npy", dtype=torch.float64)
    assert table.train.dtype == torch.float64

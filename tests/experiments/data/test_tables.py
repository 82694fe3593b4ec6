"""Numeric tables: reading, splits, standardisation, and errors that name the location."""

import zipfile

import numpy as np
import pytest
import torch

from flowkernels.experiments.data import TensorBatches
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.tables import load_table
from flowkernels.experiments.training.vectors import fit_vectors
from flowkernels.flows import realnvp

RAW = np.random.default_rng(0).normal([5.0, -3.0, 100.0], [2.0, 0.1, 30.0], (200, 3))


def write(path, rows=RAW):
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        np.savez(path, data=rows)
    else:
        np.savetxt(path, rows, delimiter=",", header="x,y,z", comments="", fmt="%.17g")
    return path


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz", "rows.csv"])
def test_every_format_gives_the_same(tmp_path, name):
    table = load_table(write(tmp_path / name), val=0.1, test=0.2, seed=3)
    assert [len(t) for t in (table.train, table.val, table.test)] == [140, 20, 40]
    assert table.dim == 3
    assert table.train.mean(0).abs().max() < 1e-6
    assert (table.train.std(0, correction=0) - 1).abs().max() < 1e-6
    rows = torch.cat([table.train, table.val, table.test]).double() * table.scale + table.mean
    assert np.allclose(np.sort(rows.numpy(), 0), np.sort(RAW, 0), rtol=1e-5)
    same = load_table(write(tmp_path / "again.npy"), val=0.1, test=0.2, seed=3)
    assert torch.equal(table.train, same.train)


def test_a_files_own_split_is_kept(tmp_path):
    np.savez(tmp_path / "a.npz", train=RAW[:100], val=RAW[100:110], test=RAW[110:])
    table = load_table(tmp_path / "a.npz")
    assert [len(t) for t in (table.train, table.val, table.test)] == [100, 10, 90]
    assert np.allclose(table.mean, RAW[:100].mean(0))


def test_a_flow_learns_a_table(tmp_path):
    table = load_table(write(tmp_path / "rows.npy"))
    flow = realnvp(3, layers=2, hidden=8, base="resampled")
    batches = TensorBatches(table.train, 64, shuffle=True, drop_last=True)
    before = -flow.eval().log_prob(3 * table.test).mean()
    after = -fit_vectors(flow, batches, steps=30).log_prob(table.test).mean()
    assert after < before
    assert after < 5.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "1,2\n3,x\n", "line 2, column 2: expected a number, got 'x'"),
        ("a.csv", "a,b\n1,2\n3,x\n", r"line 3, column 2 \('b'\): expected a number, got 'x'"),
        ("a.csv", "a,b\n1,2\n3,\n", r"line 3, column 2 \('b'\): .*, got '': the value is missing"),
        ("a.csv", "a,b\n1,2\nNA,3\n", r"line 3, column 1 \('a'\).*'NA': the value is missing"),
        ("a.csv", "a,b\n1,2,3\n", "line 2: expected 2 columns, got 3"),
        ("a.csv", "1,2\n3\n", "line 2: expected 2 columns, got 1"),
        (
            "a.csv",
            "1,2\n3,nan\n",
            "row 2, column 2: .* finite number, got 'nan': the value is missing",
        ),
        ("a.csv", "a,b\n1,2\n3,inf\n", r"row 2, column 2 \('b'\): .* finite number, got 'inf'"),
        ("a.csv", "", r"expected numbers of shape \(n, d\)"),
        ("a.csv", "1,2\n1,3\n1,4\n", "column 1 is constant"),
        ("a.csv", "a,b\n1,2\n1,3\n1,4\n", r"column 1 \('a'\) is constant"),
        ("a.csv", b"\xff\xfe1,2", "expected text with commas"),
        ("a.npy", "nothing", "expected a NumPy array"),
        ("a.npz", "nothing", "expected an archive of NumPy arrays"),
        ("a.txt", "1,2", "expected a table in .npy, .npz, .csv"),
        ("a.csv", None, "cannot be read"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        load_table(path, val=0, test=0)


def test_announced_sizes_are_checked_before_they_are_allocated(tmp_path):
    np.save(tmp_path / "a.npy", RAW)
    content = (tmp_path / "a.npy").read_bytes()
    claimed = content.replace(b"(200, 3), }       ", b"(2000000000, 3), }")
    assert len(claimed) == len(content)
    (tmp_path / "a.npy").write_bytes(claimed)
    with pytest.raises(DataError, match=r"a\.npy: expected 480000001.. bytes .* truncated"):
        load_table(tmp_path / "a.npy")
    np.savez_compressed(tmp_path / "b.npz", data=RAW)
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", (tmp_path / "a.npy").read_bytes())
    with pytest.raises(DataError, match=r"c\.npz: data\.npy: expected 480000001.. bytes"):
        load_table(tmp_path / "c.npz")
    assert load_table(tmp_path / "b.npz").dim == 3


def test_a_line_without_an_end(tmp_path):
    (tmp_path / "a.csv").write_text("1," * 600_000)
    with pytest.raises(DataError, match=r"a\.csv: line 1: expected at most 1048576 characters"):
        load_table(tmp_path / "a.csv")


def test_bad_arrays_and_fractions(tmp_path):
    np.savez(tmp_path / "a.npz", one=RAW, two=RAW)
    with pytest.raises(DataError, match="found one, two"):
        load_table(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", train=RAW, val=RAW[:, :2], test=RAW)
    with pytest.raises(DataError, match="as many columns in every split"):
        load_table(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"below 1 together, got 0\.5 and 0\.5"):
        load_table(write(tmp_path / "c.npy"), val=0.5, test=0.5)

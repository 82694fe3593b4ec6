"""The command line on tables, from the user's side."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from flowkernels.experiments.cli import app
from flowkernels.experiments.training import Run
from tests.experiments.tabular import write

QUICK = ["--epochs", "2", "--hidden", "8", "--layers", "2", "--accelerator", "cpu"]


@pytest.fixture
def command(monkeypatch, capfd):
    """Run the command line in this process; returns its status and output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["flowkernels", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        status = app.run()
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def rows(tmp_path):
    return write(tmp_path / "rows.csv", 300)


@pytest.fixture
def trained(tmp_path, rows, command):
    status, _, error = command(
        "train", tmp_path / "run", "--data", rows, "--context", "a,b", *QUICK
    )
    assert status == 0, error
    return Run(tmp_path / "run")


def test_from_training_to_samples(trained, command):
    status, out, error = command("evaluate", trained.path, "--samples", 49)
    assert status == 0, error
    assert "log density of x, y given a, b; 30 test rows" in out
    written = json.loads((trained.path / "metrics.json").read_text())
    for name in ("log_likelihood", "log_likelihood_standardised", "gaussian"):
        assert f"{written[name]['mean']:.4f}" in out
        assert f"{written[name]['standard_error']:.4f}" in out
    calibration = written["calibration"]
    assert (calibration["rows"], calibration["samples"]) == (30, 49)
    for name in ("highest_density", "tarp"):
        assert f"{calibration[name]['coverage']['0.5']['share']:.3f}" in out
        assert 0 <= calibration[name]["p_value"] <= 1
    with Image.open(trained.path / "calibration.png") as picture:
        assert picture.size == (600, 600)

    contexts = ("--context", "a=1,b=2", "--context", "b=-3,a=4")
    status, out, error = command("sample", trained.path, *contexts, "--count", 3, "--seed", 1)
    assert (status, out.strip()) == (0, str(trained.path / "samples.csv")), error
    with (trained.path / "samples.csv").open(newline="") as file:
        header, *values = csv.reader(file)
    assert header == ["x", "a", "b", "y"]
    assert [row[1:3] for row in values] == [["1", "2"]] * 3 + [["4", "-3"]] * 3
    assert len({row[0] for row in values}) == 6
    again = trained.path / "again.csv"
    command("sample", trained.path, *contexts, "--count", 3, "--seed", 1, "-o", again)
    assert again.read_bytes() == (trained.path / "samples.csv").read_bytes()


@pytest.mark.parametrize("flow", ["nsf", "maf", "realnvp"])
def test_a_table_without_context_and_header(tmp_path, command, flow):
    np.savetxt(tmp_path / "t.csv", np.random.default_rng(0).normal(size=(200, 3)), delimiter=",")
    data = ("--data", tmp_path / "t.csv", "--flow", flow)
    status, _, error = command("train", tmp_path / "run", *data, *QUICK)
    assert status == 0, error
    status, out, error = command("evaluate", tmp_path / "run", "--samples", 20, "--limit", 10)
    assert status == 0, error
    assert "log density of 1, 2, 3; 10 test rows" in out
    status, out, error = command("sample", tmp_path / "run", "--count", 5)
    assert status == 0, error
    assert np.loadtxt(out.strip(), delimiter=",").shape == (5, 3)


def test_a_path_in_a_run_does_not_depend_on_the_folder(tmp_path, rows, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, error = command("train", "run", "--data", "rows.csv", "--context", "a", *QUICK)
    assert status == 0, error
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    status, _, error = command("evaluate", "../run", "--samples", 9)
    assert status == 0, error
    rows.rename(tmp_path / "other" / "rows.csv")
    status, _, error = command("evaluate", "../run", "--samples", 9)
    assert (status, "cannot be read" in error) == (2, True)
    status, _, error = command("evaluate", "../run", "--samples", 9, "--data-dir", ".")
    assert status == 0, error


def test_resume_and_another_runs_settings(tmp_path, trained, command):
    before = trained.history_file.read_text()
    status, out, error = command("train", trained.path, "--resume")
    assert (status, "Trained." in out) == (0, True), error
    assert trained.history_file.read_text() == before
    settings = ("--config", trained.config_file, "--flow", "maf", "--transform", "spline")
    status, _, error = command("train", tmp_path / "second", *settings)
    assert status == 0, error
    changed = trained.config().differences(Run(tmp_path / "second").config())
    assert changed == {"flow": ("nsf", "maf"), "transform": ("affine", "spline")}


def test_scores_are_printed_where_nothing_can_be_written(trained, command):
    """As on a read-only disk."""
    for name in ("metrics.json", "calibration.png"):
        (trained.path / name).mkdir()
    status, out, error = command("evaluate", trained.path, "--samples", 9)
    assert status == 0
    assert "this flow" in out
    for name in ("metrics.json", "calibration.png"):
        assert f"Not written to {trained.path / name}: Is a directory" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train NEW --data ROWS --context nope", "which has x, a, b, y; got 'nope'"),
        ("train NEW --data ROWS --context x,y,a,b", "got all of them (x, a, b, y)"),
        ("train NEW --data ROWS --levels 3", "levels: only for --data of images"),
        ("train NEW --data digits --context a", "context: only for --data of a table"),
        ("train NEW --data digits --layers 3", "layers: only for --data of a table"),
        ("train NEW --data NEW/no.csv", "no.csv: cannot be read (No such file"),
        ("train NEW --data ROWS --flow glow", "flow: expected nsf or maf or realnvp, got 'glow'"),
        ("train NEW --data ROWS --context a,b,y", "flow: expected maf for one modelled column"),
        ("train ROWS --context a", "RUN: expected the folder of a new run, got the table"),
        ("train RUN --resume --context a", "keeps its settings, got context ('a,b' -> 'a')"),
        ("train RUN --resume --data digits", "data: expected a table, as"),
        ("train NEW --config RUN/config.json --data digits", "data: expected a table, as"),
        ("sample RUN", "context: expected a value of a, b, such as --context 'a=1,b=1', got none"),
        ("sample RUN --context a=1", "expected a=VALUE,b=VALUE, got no value of b"),
        ("sample RUN --context a=1,c=2", "expected a=VALUE,b=VALUE, got 'c=2'"),
        ("sample RUN --context a=1,b=x", "got 'x' for b, which is no number"),
        ("sample RUN --context a=1,b=inf", "got 'inf' for b, which is no number"),
        ("sample RUN --context a=1,b=2 --rows 3", "rows: only for a run on images"),
        ("interpolate RUN", "expected a run on images, found one on a table"),
    ],
)
def test_user_errors_give_one_message(trained, rows, command, tmp_path, arguments, message):
    names = {"RUN": trained.path, "NEW": tmp_path / "new", "ROWS": rows}
    for name, path in names.items():
        arguments = arguments.replace(name, str(path))
    status, _, error = command(*arguments.split())
    assert status == 2
    assert message in " ".join(error.replace("│", " ").split())
    assert "Traceback" not in error
    assert not (tmp_path / "new").exists()


def test_files_that_are_no_tables_of_numbers(tmp_path, command):
    for name, text, message in (
        ("words", "a,b\n1,2\n3,red\n", "line 3, column 2 ('b'): expected a number, got 'red'"),
        ("gaps", "a,b\n1,2\n3,\n", "('b'): expected a number, got '': the value is missing"),
        ("flat", "a,b\n1,2\n1,3\n1,4\n1,5\n", "column 'a': expected values that vary, got 1"),
    ):
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        status, _, error = command("train", tmp_path / "new", "--data", path, *QUICK)
        assert (status, message in error) == (2, True), error
        assert not (tmp_path / "new").exists()

"""What a newcomer types first: short answers that say what to do, and no tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command line is not installed (extra `train`)")

import flowkernels
from flowkernels.experiments.cli import app
from flowkernels.experiments.data import fashion_mnist
from flowkernels.experiments.data.errors import DataError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command line in an empty folder: its status and what it prints."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flowkernels", *arguments])
        status = app.run()
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err

    return call


def test_version(command: Command) -> None:
    assert command("--version") == (0, f"flowkernels {flowkernels.__version__}\n", "")


def test_without_a_command_help_is_shown(command: Command) -> None:
    status, out, err = command()
    assert status == 2
    assert "flowkernels train runs/first --data digits" in out + err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train"], "Missing argument 'RUN'"),
        (["train", "runs/x", "--flw", "nsf"], "--flow"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["evaluate", "nothere"], "'flowkernels train' creates one"),
        (["sample", "nothere"], "'flowkernels train' creates one"),
        (["train", "runs/x", "--data", "nothere.csv"], "nothere.csv: cannot be read"),
        (["train", "file/x", "--data", "digits"], "error: file: is a file; a run needs a folder"),
        (["demo", "file/x"], "error: file: is a file; a run needs a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors(command: Command, arguments: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, out, err = command(*arguments)
    assert status == 2
    assert told in err, (out, err)
    assert len(err.splitlines()) <= 6
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_that_is_not_writable(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def denied(path: Path, mode: int) -> bool:
        return not (mode & os.W_OK and Path(path).resolve() == tmp_path.resolve())

    monkeypatch.setattr(os, "access", denied)
    status, _, err = command("demo")
    assert status == 2
    assert err == "error: demo: . is not writable; choose another folder for the run\n"


def test_the_demo_without_a_network(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> bytes:
        raise DataError("https://example.org: cannot be reached")

    monkeypatch.setenv("FLOWKERNELS_CACHE", "cache")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", Path("/nowhere"))
    monkeypatch.setattr(fashion_mnist, "download", fails)
    monkeypatch.setattr(fashion_mnist, "apt_extract", fails)
    status, _, err = command("demo")
    assert status == 2
    assert "which need no download: flowkernels train runs/first --data digits" in err


def test_errors_of_the_system_name_the_file(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "runs/x/config.json")

    monkeypatch.setattr("flowkernels.experiments.training.fit", full)
    status, _, err = command("train", "runs/x", "--data", "digits")
    assert (status, err) == (2, "error: runs/x/config.json: no space left on device\n")


def test_python_m_and_the_first_lines_of_python(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    ran = run("-m", "flowkernels", "--version")
    assert (ran.returncode, ran.stdout) == (0, f"flowkernels {flowkernels.__version__}\n")
    code = (
        "import torch, flowkernels; "
        "print(flowkernels.flows.nsf(2).log_prob(torch.zeros(3, 2)).shape); "
        "help(flowkernels.ops.slerp)"
    )
    ran = run("-c", code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert "torch.Size([3])" in ran.stdout
    assert "great circle" in ran.stdout

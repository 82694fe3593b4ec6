"""The command line, from the user's side."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from flowkernels.experiments.cli import app
from flowkernels.experiments.training import Run
from tests import forked

TINY = [
    *("--data", "digits", "--val-size", "50", "--batch-size", "32", "--accelerator", "cpu"),
    *("--levels", "1", "--steps", "1", "--hidden", "4", "--epochs", "2", "--steps-per-epoch", "5"),
]


@pytest.fixture
def command(monkeypatch, capfd):
    """Run the command line in this process; returns its status and output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["flowkernels", *map(str, arguments)])
        status = app.run()
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def trained(tmp_path, command):
    status, _, error = command("train", tmp_path / "run", *TINY)
    assert status == 0, error
    return Run(tmp_path / "run")


def test_from_training_to_pictures(trained, command):
    status, out, _ = command("evaluate", trained.path, "--limit", 100)
    assert status == 0
    assert "this flow" in out
    assert "diagonal Gaussian on pixels" in out
    written = json.loads((trained.path / "metrics.json").read_text())
    assert written["step"] == 10
    assert written["test_images"] == 100
    assert written["round_trip_error"] < 1e-4
    for name in ("flow", "untrained_flow", "diagonal_gaussian"):
        entry = written["scores"][name]
        assert f"{entry['bpd']:.4f}" in out
        assert f"{entry['standard_error']:.4f}" in out

    status, out, _ = command("sample", trained.path, "--rows", 2, "--columns", 3, "--scale", 1)
    assert (status, out.strip()) == (0, str(trained.path / "samples.png"))
    with Image.open(out.strip()) as picture:
        assert picture.size == (2 + 3 * 10, 2 + 2 * 10)

    target = trained.path / "elsewhere" / "walk.png"
    grid = ("--pairs", 3, "--points", 4, "--path", "linear", "--scale", 1)
    status, out, _ = command("interpolate", trained.path, "-o", target, *grid)
    assert (status, out.strip()) == (0, str(target))
    with Image.open(target) as picture:
        assert picture.size == (2 + 4 * 10, 2 + 3 * 10)


def test_learned_noise_from_training_to_pictures(command, tmp_path):
    folder = tmp_path / "run"
    status, _, error = command("train", folder, *TINY, "--dequantization", "variational")
    assert status == 0, error
    assert command("evaluate", folder, "--limit", 100)[0] == 0
    assert json.loads((folder / "metrics.json").read_text())["round_trip_error"] < 1e-4
    assert command("sample", folder, "--rows", 2, "--columns", 3)[0] == 0
    assert command("interpolate", folder, "--pairs", 2, "--points", 3)[0] == 0
    status, _, error = command("train", folder, "--resume", "--epochs", 3)
    assert status == 0, error


def test_interpolation_begins_and_ends_at_test_images(trained, command):
    from flowkernels.experiments.data import load_dataset

    command("interpolate", trained.path, "--pairs", 1, "--points", 5, "--scale", 1)
    with Image.open(trained.path / "interpolation.png") as file:
        picture = file.copy()
    test = load_dataset("digits").test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    for column, index in ((0, order[0]), (4, order[1])):
        left = 2 + 10 * column
        cell = picture.crop((left, 2, left + 8, 10)).tobytes()
        assert cell == test[index].numpy().tobytes()


def test_samples_repeat_with_the_seed(trained, command, tmp_path):
    names = [tmp_path / f"{number}.png" for number in range(3)]
    for name, seed in zip(names, (1, 1, 2), strict=True):
        command("sample", trained.path, "-o", name, "--seed", seed)
    first, second, third = (name.read_bytes() for name in names)
    assert first == second
    assert first != third


def test_resume_reads_the_saved_settings(trained, command):
    before = trained.history_file.read_text()
    status, out, _ = command("train", trained.path, "--resume")
    assert status == 0
    assert "Trained." in out
    assert trained.history_file.read_text() == before


def test_a_run_in_an_odd_place(command, tmp_path):
    folder = tmp_path / "ünder the stairs"
    status, out, error = command("train", folder, *TINY)
    assert status == 0, error
    assert f"Next: flowkernels evaluate '{folder}'\n" in out
    (tmp_path / "file").touch()
    status, _, error = command("train", tmp_path / "file", *TINY)
    assert (status, error) == (2, f"error: {tmp_path / 'file'}: is a file; a run needs a folder\n")
    status, _, error = command("train", "", *TINY)
    assert status == 2
    assert "must name a folder, got an empty name" in error


def test_settings_from_another_run(trained, command, tmp_path):
    settings = ("--config", trained.config_file, "--seed", 5)
    status, _, _ = command("train", tmp_path / "second", *settings)
    assert status == 0
    changed = trained.config().differences(Run(tmp_path / "second").config())
    assert changed == {"seed": (0, 5)}


def test_scores_are_printed_where_they_cannot_be_written(trained, command):
    """As on a read-only disk."""
    (trained.path / "metrics.json").mkdir()
    status, out, error = command("evaluate", trained.path, "--limit", 20)
    assert status == 0
    assert "this flow" in out
    assert f"Not written to {trained.path / 'metrics.json'}: Is a directory" in error


def test_a_damaged_checkpoint_from_the_users_side(trained, command):
    trained.best.write_bytes(trained.best.read_bytes()[:-100])
    for name in ("evaluate", "sample", "interpolate"):
        status, _, error = command(name, trained.path)
        assert status == 2
        assert error.startswith(f"error: {trained.best}: damaged")
        assert "Whole in this run: last (step 10)" in error
        assert "take one with --checkpoint last" in error
    status, _, error = command("sample", trained.path, "--checkpoint", "last")
    assert status == 0, error
    trained.last.write_bytes(b"")
    trained.previous.write_bytes(b"")
    status, _, error = command("train", trained.path, "--resume")
    assert (status, "Aborted" in error, "Traceback" in error) == (2, False, False)
    assert f"{trained.last}: damaged, the file is empty" in error
    assert f"{trained.best}: damaged" in error


def test_longer_training_from_the_command_line(trained, command):
    status, out, error = command("train", trained.path, "--resume", "--epochs", 3)
    assert (status, "Trained." in out) == (0, True), error
    assert trained.config().epochs == 3
    assert trained.load_flow("last")[1]["step"] == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "RUN"], "already contains a run; resume it with --resume"),
        (["train", "RUN", "--resume", "--seed", "9"], "keeps its settings, got seed (0 -> 9)"),
        (["train", "NEW", "--data", "nope"], "data set 'nope': expected one of fashion-mnist"),
        (["train", "NEW", "--data", "idx"], "expected a folder of IDX files (--data-dir)"),
        (["train", "NEW", "--data", "digits", "--levels", "7"], "flow for images of shape"),
        (["train", "NEW", "--data", "digits", "--val-size", "5000"], "val_size: expected 0 to"),
        (["train", "NEW", "--learning-rate", "0"], "learning_rate: expected a positive"),
        (["train", "NEW", "--base", "gauss"], "base: expected normal or vmf or"),
        (["train", "NEW", "--config", "NEW/no.json"], "no.json: cannot be read (No such file"),
        (["train", "NEW", "--hidden", "many"], "'--hidden'"),
        (["train", "NEW", "--nope"], "--nope"),
        (["evaluate", "NEW"], "expected the folder of a run, found no config.json"),
        (["evaluate", "RUN", "--checkpoint", "x.ckpt"], "expected a checkpoint (x.ckpt)"),
        (["sample", "RUN", "--rows", "0"], "'--rows'"),
        (["sample", "RUN", "-o", "RUN/config.json/x.png"], "config.json"),
        (["interpolate", "RUN", "--path", "zigzag"], "path: expected one of "),
        (["interpolate", "RUN", "--pairs", "999"], "pairs: expected at most 180"),
        (["fly"], "fly"),
        (["train", "NEW", "--data", "digits", "--hidden", "1000000000"], "hidden: expected"),
        (["train", "NEW", "--data", "digits", "--devices", "1000"], "devices: expected at most"),
        (["train", "NEW", "--threads", "1000000"], "threads: expected a whole number from 1 to"),
        (["train", "NEW", "--seed", str(2**64)], "seed: expected a whole number from 0 to"),
        (["train", "NEW", "--learning-rate", "1e308"], "learning_rate: expected a positive"),
        (["train", "NEW", "--learning-rate", "nan"], "learning_rate: expected a positive"),
        (["train", "RUN", "--resume", "--epochs", "1"], "already trained for 2 epochs"),
        (["sample", "RUN", "--seed", str(2**64)], "'--seed'"),
        (
            ["sample", "RUN", "--rows", "1000", "--columns", "1000", "--scale", "64"],
            "rows, columns",
        ),
        (["demo", "NEW", "--minutes", "nan"], "'--minutes'"),
    ],
)
def test_user_errors_give_one_message(trained, command, tmp_path, arguments, message):
    names = {"RUN": str(trained.path), "NEW": str(tmp_path / "new")}
    for name, path in names.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    status, _, error = command(*arguments)
    assert status == 2
    assert message in " ".join(error.replace("│", " ").split())
    assert "Traceback" not in error
    assert not (tmp_path / "new").exists()


def test_divergence_has_its_own_status(command, tmp_path):
    absurd = ("--learning-rate", 1e3, "--epochs", 30, "--warmup-steps", 0, "--schedule", "constant")
    status, _, error = command("train", tmp_path / "run", *TINY, *absurd)
    assert status == 1
    assert "stopped: step" in error
    assert "Traceback" not in error


def test_interruption_prints_the_resume_command(command, tmp_path, monkeypatch):
    from flowkernels.experiments.training import FlowModule

    step = FlowModule.training_step

    def interrupted(self, batch, index):
        if self.global_step == 7:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(FlowModule, "training_step", interrupted)
    status, _, error = command("train", tmp_path / "run", *TINY)
    assert status == 130
    assert f"flowkernels train {tmp_path / 'run'} --resume" in error
    monkeypatch.setattr(FlowModule, "training_step", step)
    assert command("train", tmp_path / "run", "--resume")[0] == 0


def test_a_time_limit_ends_well_and_names_the_resume_command(command, tmp_path):
    status, out, error = command("train", tmp_path / "run", *TINY, "--minutes", "0")
    assert status == 0, error
    assert "The time is up: training stopped after step 1 of 10, saved in" in out
    assert f"To resume: flowkernels train {tmp_path / 'run'} --resume" in out
    assert "Trained." not in out
    status, out, error = command("train", tmp_path / "run", "--resume", "--minutes", "600")
    assert status == 0, error
    assert "Trained." in out
    assert command("train", tmp_path / "other", *TINY, "--minutes", "-1")[0] == 2
    assert not (tmp_path / "other").exists()


def test_demo_writes_its_files_and_resumes(command, tmp_path, monkeypatch):
    from flowkernels.experiments.training import RunConfig

    module = sys.modules["flowkernels.experiments.cli.demo"]
    small = RunConfig(
        data="digits", levels=1, steps=1, hidden=4, epochs=1, steps_per_epoch=3, val_size=50
    )
    monkeypatch.setattr(module, "DEMO", small)
    status, out, error = command("demo", tmp_path / "demo")
    assert status == 0, error
    for name in ("metrics.json", "metrics.csv", "loss.png", "samples.png", "interpolation.png"):
        assert (tmp_path / "demo" / name).is_file()
        assert str(tmp_path / "demo" / name) in out
    before = (tmp_path / "demo" / "metrics.csv").stat().st_mtime_ns
    status, out, _ = command("demo", tmp_path / "demo")
    assert status == 0
    assert "ms here" not in out
    assert (tmp_path / "demo" / "metrics.csv").stat().st_mtime_ns == before


def test_info_prints_versions(command):
    status, out, _ = command("info")
    assert status == 0
    assert torch.__version__ in out
    assert "flowkernels" in out


def test_module_and_help():
    done = subprocess.run(
        [sys.executable, "-m", "flowkernels", "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    for name in ("train", "evaluate", "interpolate", "sample", "info", "demo"):
        assert name in done.stdout
    # Help must not wait for the training framework.
    code = "import sys, flowkernels.experiments.cli.app; sys.exit('lightning' in sys.modules)"
    assert forked.run(code, cwd=Path.cwd()).returncode == 0


def test_a_missing_extra_is_named(monkeypatch):
    from flowkernels.experiments import cli

    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert "pip install 'flowkernels[train]'" in str(left.value)

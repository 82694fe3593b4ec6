"""A study of images: the way it is run does not change the table."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flowkernels.experiments.study import load_study, run_study
from flowkernels.experiments.training import ConfigError, TimeLimit
from tests import forked

SETTINGS = {
    "study": "images",
    "title": "Small",
    "seeds": [0, 1],
    "run": {
        "data": "digits",
        "val_size": 50,
        "levels": 1,
        "steps": 1,
        "hidden": 4,
        "epochs": 2,
        "steps_per_epoch": 4,
        "warmup_steps": 2,
        "checkpoint_every": 2,
        "accelerator": "cpu",
        "threads": 1,
    },
    "models": [
        {"name": "Gaussian", "base": "normal", "paths": ["linear", "norm_corrected"]},
        {
            "name": "vMF 2d",
            "base": "vmf",
            "concentration_scale": 2.0,
            "paper": {"bpd": "3.22", "paths": {"own": {"fid": "15.11"}}},
        },
    ],
    "evaluation": {"samples": 40, "pairs": 10, "points": 4, "shown": 1},
}
TASKS = {"real-images", *(f"{m}-seed{s}" for m in ("gaussian", "vmf-2d") for s in (0, 1))}
FILES = ["study.md", "study.json", "walks0.png", "samples.png", "norms.png"]

# Runs a study; dies just before the rename of the file with the given number.
DEADLY = """
import os, pathlib, signal, sys, torch
torch.set_num_threads(1)
config, folder, deadly = sys.argv[1:]
count, replace = 0, pathlib.Path.replace
def counted(self, target):
    global count
    count += 1
    if count == int(deadly):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = counted
from flowkernels.experiments.study import load_study, run_study
run_study(load_study(config), pathlib.Path(folder))
"""


def write(folder, **changes):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return file


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted study and its printed lines."""
    folder, said = tmp_path_factory.mktemp("whole"), []
    run_study(load_study(write(folder)), folder, say=said.append)
    return folder, said


def test_table_and_pictures(whole):
    folder, said = whole
    assert {f.parent.name for f in folder.glob("*/result.json")} == TASKS
    table = (folder / "study.md").read_text()
    summary = json.loads((folder / "study.json").read_text())["summary"]
    linear = summary["Gaussian"]["paths"]["linear"]
    for value, digits in ((summary["Gaussian"]["bpd"], 3), (linear["fid"], 2)):
        assert f"{value['mean']:.{digits}f} ± {value['sd']:.{digits}f}" in table
    for text in ("blend of pixels", "slerp", "norm_corrected", "own classifier", "## In the paper"):
        assert text in table
    assert "| vMF 2d | 3.22 |  | slerp |  | 15.11 |" in table.split("## In the paper")[1]
    assert said[0] == "[1/5] real-images"
    assert said[-1].endswith("norms.png")


def test_mean_and_deviation_over_the_runs(whole):
    folder, _ = whole
    runs = [json.loads((folder / f"vmf-2d-seed{s}/result.json").read_text()) for s in (0, 1)]
    spread = json.loads((folder / "study.json").read_text())["summary"]["vMF 2d"]["bpd"]
    a, b = (run["bpd"] for run in runs)
    assert a != b
    assert spread["mean"] == pytest.approx((a + b) / 2, rel=1e-12)
    assert spread["sd"] == pytest.approx(abs(a - b) / 2**0.5, rel=1e-12)


def test_repeated_kills_give_the_same_result(whole, tmp_path):
    config = write(tmp_path)
    folder = tmp_path / "study"
    deaths = 0
    for deadly in (1, 4, 9, 12, 0):
        arguments = ["-c", str(config), str(folder), str(deadly)]
        done = forked.run(f"import sys; sys.argv = {arguments}\n{DEADLY}", cwd=tmp_path)
        deaths += done.returncode == -signal.SIGKILL
    assert done.returncode == 0, done.stderr
    assert deaths == 4
    assert contents(folder) == contents(whole[0])


def test_two_processes_share_the_work(whole, tmp_path):
    folder = tmp_path / "study"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, "-m", "flowkernels", "study", write(tmp_path), folder, "--minutes", "600"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert contents(folder) == contents(whole[0])
    # each task once; lines of the processes may be interleaved
    begun = re.findall("|".join(TASKS), done.stdout)
    assert sorted(begun) == sorted(TASKS)


def test_stopped_by_the_time_again_and_again(whole, tmp_path):
    """A limit counts looks at its clock here: one for each task, step and scoring."""
    study, lines = load_study(write(tmp_path)), []
    for looks in (10, 1, 6, 5, *[9] * 8):
        seconds, said = itertools.count(), []
        limit = TimeLimit(looks / 60, clock=seconds.__next__)
        results = run_study(study, tmp_path, say=said.append, limit=limit)
        lines.append(said)
        if len(results) == len(TASKS):
            break
        assert not (tmp_path / "study.md").exists()
    go_on = "To go on, run the same command again"
    assert lines[0][-1] == (
        "The time is up: 1 of 5 tasks are done, 4 are left (gaussian-seed0: trained, not scored). "
        + go_on
    )
    assert lines[1] == [f"The time is up: 1 of 5 tasks are done, 4 are left. {go_on}"]
    assert lines[2][-1] == (
        "The time is up: 2 of 5 tasks are done, 3 are left (vmf-2d-seed0: after step 3 of 8). "
        + go_on
    )
    assert len(lines) > 5
    assert contents(tmp_path) == contents(whole[0])


def test_another_folder_of_the_data(tmp_path):
    study = load_study(write(tmp_path)).with_data_dir("/elsewhere")
    assert study.plan.config(study.plan.models[0], 0).data_dir == "/elsewhere"
    with pytest.raises(ConfigError, match="data_dir: expected a study of images, got Densities"):
        load_study("densities").with_data_dir("/elsewhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "music"}, "study: expected images"),
        ({"colour": 1}, "unknown setting colour"),
        ({"seeds": []}, "seeds: expected a list"),
        ({"models": []}, "models: expected at least one"),
        ({"models": [{"base": "vmf"}]}, "models: expected mappings with a name"),
        ({"models": [{"name": "A", "base": "x"}]}, "models: A: unknown|base: expected"),
        ({"models": [{"name": "A", "paths": ["crooked"]}]}, "paths: expected own or"),
        ({"models": [{"name": "A"}, {"name": "a"}]}, "expected different names"),
        ({"run": {"layers": 1}}, "run: unknown setting layers"),
        (
            {"evaluation": {"points": 2}},
            "evaluation: points: expected a whole number from 3, got 2",
        ),
        ({"evaluation": {"x": 2}}, "evaluation: unknown setting x"),
    ],
)
def test_wrong_settings_are_named_in_errors(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_study(write(tmp_path, **changes))


def test_a_missing_configuration(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"expected a YAML file or one of .*digits"):
        load_study(tmp_path / "none")


def test_studies_of_the_package_load():
    from flowkernels.experiments.study.study import CONFIGS

    names = sorted(file.stem for file in Path(CONFIGS).glob("*.yaml"))
    assert {"densities", "digits", "fashion_mnist"} <= set(names)
    for name in names:
        assert load_study(name).tasks()

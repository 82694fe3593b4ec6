"""A study of images: the way it is run does not change the table."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flowkernels.experiments.data.errors import DamagedFileError
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
    "evaluation": {"samples": 40, "pairs": 10, "points": 4, "shown": 1, "draws": 2},
}
TASKS = {"real-images", *(f"{m}-seed{s}" for m in ("gaussian", "vmf-2d") for s in (0, 1))}
PICTURES = ["walks0.png", "samples.png", "norms.png", "profile.png", "differences.png"]
FILES = ["study.md", "study.json", *PICTURES]

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
from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.study import load_study, run_study
run_study(load_study(config), pathlib.Path(folder))
"""


def write(folder, **changes):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return file


def with_extractors(folder, whole):
    """The folder of a study that has the trained extractors of the whole one."""
    folder.mkdir()
    for file in whole.glob("extractor-*.pt"):
        shutil.copy(file, folder)
    return folder


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
    bases, paths = summary["bases"], summary["paths"]
    numbers = [
        (bases["Gaussian"]["test BPD"], 4),
        (bases["Gaussian"]["FID (rotations)"], 2),
        (paths["Gaussian, linear"]["FID (classes)"], 2),
        (paths["vMF 2d, slerp"]["recall (classes)"], 3),
    ]
    for value, digits in numbers:
        assert f"{value['mean']:.{digits}f} ± {value['sd']:.{digits}f}" in table
    for text in ("blend of pixels", "own network for classes", "2 draws", "## In the paper"):
        assert text in table
    assert "| vMF 2d | 3.22 |  | slerp |  | 15.11 |" in table.split("## In the paper")[1]
    assert said[0] == "[1/5] real-images"
    assert [Path(line.removeprefix("written: ")).name for line in said[-7:]] == FILES


def test_numbers_of_the_runs(whole):
    folder, _ = whole
    runs = [result_of(folder, "vmf-2d", seed) for seed in (0, 1)]
    spread = read(folder)["summary"]["bases"]["vMF 2d"]["test BPD"]
    a, b = (run["bpd"] for run in runs)
    assert a != b
    assert spread["mean"] == pytest.approx((a + b) / 2, rel=1e-12)
    assert spread["sd"] == pytest.approx(abs(a - b) / 2**0.5, rel=1e-12)
    path = runs[0]["paths"]["own"]
    assert len(path["profile"]) == 4
    assert path["bpd"] == pytest.approx(sum(path["profile"][1:3]) / 2, rel=1e-12)
    bound = runs[0]["bound"]
    assert bound["count"] == runs[0]["count"]
    assert bound["bpd"] == pytest.approx(runs[0]["bpd"], abs=0.1)
    assert bound["bpd"] != runs[0]["bpd"]


def test_differences_are_paired_by_seed(whole):
    folder, _ = whole
    found = read(folder)["differences"]
    assert [(each["row"], each["minus"]) for each in found] == [
        ("vMF 2d", "Gaussian"),
        ("Gaussian, norm_corrected", "Gaussian, linear"),
        ("vMF 2d, slerp", "Gaussian, linear"),
        ("vMF 2d, slerp", "Gaussian, norm_corrected"),
    ]
    expected = [
        result_of(folder, "vmf-2d", s)["bpd"] - result_of(folder, "gaussian", s)["bpd"]
        for s in (0, 1)
    ]
    difference = found[0]["test BPD"]
    assert difference["values"] == expected
    mean, error = sum(expected) / 2, abs(expected[0] - expected[1]) / 2
    assert difference["mean"] == pytest.approx(mean, rel=1e-9)
    assert difference["standard_error"] == pytest.approx(error, rel=1e-9)
    # Student's t with one degree of freedom: tan(0.475 pi).
    assert difference["half_width"] == pytest.approx(12.7062047 * error, rel=1e-6)
    assert f"{mean:+.4f} ± {error:.4f}" in (folder / "study.md").read_text()


def test_scores_of_another_evaluation_are_not_mixed(whole, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole[0], folder)
    evaluation = {**SETTINGS["evaluation"], "draws": 3}
    with pytest.raises(DamagedFileError, match=r"real-images.result.json: expected .*'draws': 3"):
        run_study(load_study(write(tmp_path, evaluation=evaluation)), folder)


def result_of(folder, model, seed):
    return json.loads((folder / f"{model}-seed{seed}/result.json").read_text())


def read(folder):
    return json.loads((folder / "study.json").read_text())


def test_repeated_kills_give_the_same_result(whole, tmp_path):
    config = write(tmp_path)
    folder = with_extractors(tmp_path / "study", whole[0])
    deaths = 0
    for deadly in (1, 4, 9, 12, 0):
        arguments = ["-c", str(config), str(folder), str(deadly)]
        done = forked.run(f"import sys; sys.argv = {arguments}\n{DEADLY}", cwd=tmp_path)
        deaths += done.returncode == -signal.SIGKILL
    assert done.returncode == 0, done.stderr
    assert deaths == 4
    assert contents(folder) == contents(whole[0])


def test_two_processes_share_the_work(whole, tmp_path):
    folder = with_extractors(tmp_path / "study", whole[0])
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
    folder = with_extractors(tmp_path / "study", whole[0])
    for looks in (10, 1, 6, 5, *[9] * 8):
        seconds, said = itertools.count(), []
        limit = TimeLimit(looks / 60, clock=seconds.__next__)
        results = run_study(study, folder, say=said.append, limit=limit)
        lines.append(said)
        if len(results) == len(TASKS):
            break
        assert not (folder / "study.md").exists()
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
    assert contents(folder) == contents(whole[0])


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
        ({"evaluation": {"extractors": []}}, "extractors: expected a list of text"),
        ({"evaluation": {"extractors": ["a", "b"]}}, "at most one file of .* got a and b"),
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

"""Study configurations from strangers: bounded, named in errors, nothing executed."""

import pytest
import yaml

from flowkernels.experiments.study import load_study
from flowkernels.experiments.study.study import CONFIGS
from flowkernels.experiments.training import ConfigError

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def written(folder, text):
    path = folder / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_package_s_own_are_read(file):
    assert load_study(file).tasks()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "its aliases repeat more"),
        ("study: images\n" + LAUGHS, "its aliases repeat more"),
        ("a: &a [*a]", "an alias refers to the value that it is part of"),
        ("[" * 50_000, "line 1: expected at most 20 levels"),
        ("study: " + "[" * 30 + "]" * 30, "expected at most 20 levels"),
        ("x: y\n" * 100_000, "expected settings in at most 262144 bytes"),
        (b"\xff\xfe\x00", "expected text"),
        ("study: [1]", "study: expected images or"),
        ("study: {a: 1}", "study: expected images or"),
        ("- 1", "study: expected images or"),
        ("", "study: expected images or"),
        ("a: !!python/object/apply:os.system ['touch executed']", "expected YAML"),
        ("a: 2020-99-99", "expected YAML"),
        ("study: images\nrun: [1]\nmodels: [{name: A}]", "run: expected settings by name"),
        ("study: images\nmodels: 5", "models: expected a list"),
        ("study: images\nmodels: [5]", "models: expected mappings with a name"),
        ("study: images\nmodels: [{name: '../..'}]", "expected names with a letter or digit"),
        ("study: images\nmodels: [{name: " + "a" * 200 + "}]", "of at most 100 characters"),
        ("study: images\nmodels: [{name: A, paths: 5}]", "paths: expected a list, got 5"),
        ("study: images\nmodels: [{name: A, paths: [[x]]}]", "paths: expected own or"),
        ("study: images\nmodels: [{name: A, paper: 5}]", "paper: expected bpd"),
        ("study: images\nmodels: [{name: A, paper: {paths: {own: 3}}}]", "paper: expected bpd"),
        ("study: images\nmodels: [{name: A}]\ntitle: [x]", "title: expected text"),
        ("study: images\nmodels: [{name: A}]\nevaluation: 3", "evaluation: expected settings"),
        ("study: images\nmodels: [{name: A, hidden: 1000000000}]", "hidden: expected"),
        ("study: densities\nsteps: 1e99", "steps: expected a whole number"),
        ("study: densities\n1: 2", "unknown setting 1"),
        ("study: densities\nbases: {a: b}", "bases: expected a list"),
    ],
)
def test_hostile_files_are_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_study(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert not (tmp_path / "executed").exists()


def test_anchors_and_aliases_are_welcome(tmp_path):
    text = {"study": "images", "models": [{"name": "A"}]}
    shared = "run: &run {hidden: 8}\nevaluation: {samples: 10}\n"
    merged = "models: [{name: A, <<: *run}]\n"
    study = load_study(written(tmp_path, "study: images\n" + shared + merged))
    assert study.plan.models[0].settings["hidden"] == 8
    assert load_study(written(tmp_path, yaml.safe_dump(text))).tasks()


def test_no_name_leads_out_of_the_folder(tmp_path):
    text = "study: images\nmodels: [{name: '../../outside/./x'}]"
    (_, task) = load_study(written(tmp_path, text)).tasks()
    assert (tmp_path / task.name).resolve().parent == tmp_path


def test_damaged_results_of_tasks_are_named(tmp_path):
    from flowkernels.experiments.data.errors import DamagedFileError
    from flowkernels.experiments.study import run_study
    from flowkernels.experiments.study.pictures import kept_cell

    study = load_study(written(tmp_path, "study: densities"))
    for task in study.tasks():
        (tmp_path / task.name).mkdir()
        (tmp_path / task.name / "result.json").write_text('{"kl": ')
    with pytest.raises(DamagedFileError, match=r"result\.json: damaged, .* remove it to compute"):
        run_study(study, tmp_path, say=lambda line: None)
    (tmp_path / "samples.npz").write_bytes(b"PK nothing")
    with pytest.raises(DamagedFileError, match=r"samples\.npz: damaged, .*remove .*result\.json"):
        kept_cell("vmf", tmp_path)

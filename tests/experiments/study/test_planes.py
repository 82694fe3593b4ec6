"""Studies of densities in the plane: interruptions do not change the numbers."""

import pytest
import torch
import yaml

from flowkernels.experiments.study import load_study, run_study
from flowkernels.experiments.training import ConfigError

DENSITIES = {
    "study": "densities",
    "targets": ["two_moons"],
    "bases": ["normal", "resampled"],
    "seeds": [0],
    "layers": 2,
    "hidden": 8,
    "steps": 6,
    "batch": 32,
    "grid": 31,
}
WELL = {
    "study": "double_well",
    "bases": ["normal", "resampled"],
    "seeds": [0],
    "layers": 2,
    "hidden": 8,
    "steps": 6,
    "batch": 32,
    "draws": 500,
    "grid": 31,
}
each = pytest.mark.parametrize("settings", [DENSITIES, WELL], ids=lambda s: s["study"])


def load(folder, settings):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    return load_study(file)


@each
def test_interrupted_study_gives_the_same_report(settings, tmp_path, monkeypatch):
    study = load(tmp_path, settings)
    run_study(study, tmp_path / "whole", say=lambda line: None)
    whole = {f.name: f.read_bytes() for f in (tmp_path / "whole").glob("*.*")}
    assert any(name.endswith(".png") for name in whole)

    save, calls = torch.Tensor.backward, []

    def stop(*arguments, **named):
        calls.append(0)
        if len(calls) in (3, 9):
            raise KeyboardInterrupt
        return save(*arguments, **named)

    monkeypatch.setattr(torch.Tensor, "backward", stop)
    stopped = 0
    while True:
        torch.manual_seed(stopped)
        try:
            run_study(study, tmp_path / "parts", say=lambda line: None)
            break
        except (KeyboardInterrupt, SystemExit):
            stopped += 1
    assert stopped == 2
    parts = {f.name: f.read_bytes() for f in (tmp_path / "parts").glob("*.*")}
    assert parts == whole


@each
def test_wrong_settings_are_named(settings, tmp_path):
    for changes, message in (
        ({"bases": ["gauss"]}, "bases: expected .*got 'gauss'"),
        ({"steps": 0}, "steps: expected a whole number from 1, got 0"),
        ({"learning_rate": -1}, "learning_rate: expected a positive number"),
        ({"seeds": [0, 0]}, "seeds: expected different numbers"),
        ({"colour": 1}, "unknown setting colour"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(tmp_path, {**settings, **changes})

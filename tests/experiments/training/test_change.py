"""What a resumed run may change, and what the learning rate does then."""

import dataclasses

import pytest
import torch

from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training import ConfigError, Run, RunConfig, fit, read_history
from flowkernels.experiments.training.module import learning_rate_factor
from flowkernels.experiments.training.settings import setting_of

from .same import assert_same_runs

KEPT = {
    "data": "idx",
    "val_size": 50,
    "levels": 2,
    "steps": 2,
    "hidden": 5,
    "alpha": 0.1,
    "dequantization": "variational",
    "base": "vmf",
    "concentration_scale": 2.0,
    "batch_size": 16,
    "learning_rate": 1e-4,
    "weight_decay": 0.1,
    "schedule": "constant",
    "warmup_steps": 3,
    "gradient_clip": 1.0,
    "ema_decay": 0.9,
    "seed": 7,
}


def test_every_setting_is_kept_with_a_reason_or_may_change():
    declared = {field.name: setting_of(field).kept for field in dataclasses.fields(RunConfig)}
    assert {name for name, kept in declared.items() if kept} == set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_setting_is_refused_with_its_reason(tmp_path, tiny, name):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    tiny().save(run.config_file)
    before = run.config_file.read_bytes()
    kept = setting_of({f.name: f for f in dataclasses.fields(RunConfig)}[name]).kept
    with pytest.raises(ConfigError, match=rf"keeps its settings, got {name} \(.* -> .*\): {kept}"):
        fit(tiny(**{name: KEPT[name]}), run.path, resume=True, progress=False)
    assert run.config_file.read_bytes() == before


def test_a_finished_run_is_trained_longer(tmp_path, tiny):
    """The learning rate goes on with the schedule of the new length."""
    run = Run(tmp_path / "run")
    fit(tiny(log_every=1, epochs=2), run.path, progress=False)
    first = read_history(run.history_file)["learning_rate"]
    longer = tiny(log_every=1, epochs=5)
    fit(longer, run.path, resume=True, progress=False)
    assert run.config() == longer
    history = read_history(run.history_file)
    assert [step for step, _ in history["val_bpd"]] == [4, 8, 12, 16, 20]
    assert history["learning_rate"][:8] == first
    for step, rate in history["learning_rate"][8:]:
        factor = learning_rate_factor(step - 1, warmup=2, total=20, schedule="cosine")
        assert rate == pytest.approx(factor * longer.learning_rate, rel=1e-12)
    assert load_tensors(run.last)["global_step"] == 20


def test_interrupted_and_extended_is_bit_for_bit_the_longer_run_from_there(tmp_path, tiny):
    """With a constant learning rate the length changes nothing before the end."""
    longer = tiny(schedule="constant", epochs=4)
    fit(longer, tmp_path / "whole", progress=False)
    run = Run(tmp_path / "run")
    fit(tiny(schedule="constant", epochs=2), run.path, progress=False)
    fit(longer, run.path, resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", run.path)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"steps_per_epoch": 7}, [4, 11, 18]),
        ({"steps_per_epoch": 2}, [4, 6, 8]),
        ({"checkpoint_every": 5, "log_every": 1}, [4, 8, 12]),
        ({"precision": "64-true"}, [4, 8, 12]),
        ({"precision": "bf16-mixed"}, [4, 8, 12]),
        ({"threads": 2}, [4, 8, 12]),
    ],
)
@pytest.mark.parametrize("stopped", [4, 6])
def test_other_settings_may_change(tmp_path, tiny, monkeypatch, changes, steps, stopped):
    """Between two epochs, and in the middle of one."""
    from flowkernels.experiments.training import FlowModule

    run = Run(tmp_path / "run")
    step = FlowModule.training_step

    def interrupted(self, batch, index):
        if self.global_step == stopped:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(FlowModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), run.path, progress=False)
    monkeypatch.setattr(FlowModule, "training_step", step)
    assert load_tensors(run.last)["global_step"] == stopped

    module = fit(tiny(**changes), run.path, resume=True, progress=False)
    if stopped == 6 and changes == {"steps_per_epoch": 2}:
        # The interrupted epoch already has its two batches: it ends without a validation.
        steps = [4, 8]
    history = read_history(run.history_file)
    assert [at for at, _ in history["val_bpd"]] == steps
    assert module.total_steps == steps[-1]
    assert run.config() == tiny(**changes)
    wanted = torch.float64 if changes.get("precision") == "64-true" else torch.float32
    assert run.load_flow("last")[0].dtype == wanted
    assert run.load_flow("best")[0].dtype == wanted


def test_fewer_epochs_than_done_are_refused(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(), run.path, progress=False)
    with pytest.raises(ConfigError, match=r"epochs: the run has already trained for 3 epochs"):
        fit(tiny(epochs=2), run.path, resume=True, progress=False)
    assert run.config() == tiny()

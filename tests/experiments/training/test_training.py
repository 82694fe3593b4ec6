"""Parts of training: settings, schedule, learning, noise."""

import itertools
import json
import random

import numpy as np
import pytest
import torch

from flowkernels.experiments.evaluation.noise import fixed_noise, random_state, set_random_state
from flowkernels.experiments.training import (
    ConfigError,
    Run,
    RunConfig,
    RunError,
    build_flow,
    data_module,
    fit,
    read_history,
)
from flowkernels.experiments.training.module import learning_rate_factor


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": 0}, "levels: expected a whole number from 1, got 0"),
        ({"epochs": 2.5}, "epochs: expected a whole number from 1, got 2.5"),
        ({"hidden": True}, "hidden: expected a whole number from 1, got True"),
        ({"learning_rate": -1.0}, "learning_rate: expected a positive number, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a positive number, got nan"),
        ({"gradient_clip": "x"}, "gradient_clip: expected a number, got 'x'"),
        ({"base": "gauss"}, "base: expected normal or vmf or .*got 'gauss'"),
        ({"schedule": None}, "schedule: expected cosine or constant, got None"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: expected a whole number from 1, got 0"),
    ],
)
def test_settings_out_of_range(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(**values)


def test_settings_survive_the_file(tmp_path):
    config = RunConfig(data="digits", learning_rate=3e-4, steps_per_epoch=7)
    config.save(tmp_path / "config.json")
    assert RunConfig.load(tmp_path / "config.json") == config


def test_settings_saved_before_the_dequantization_was_one(tmp_path):
    older = RunConfig(data="digits").to_dict()
    del older["dequantization"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert RunConfig.load(tmp_path / "config.json") == RunConfig(data="digits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[1]", "expected a JSON object, got list"),
        ('{"lerning_rate": 1}', "unknown setting lerning_rate; the settings are .*learning_rate"),
    ],
)
def test_damaged_settings_file(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.load(path)
    assert str(path) in str(caught.value)


def test_architecture_that_does_not_fit(tiny):
    with pytest.raises(ConfigError, match=r"flow for images of shape \(1, 8, 8\): "):
        build_flow(tiny(levels=9), (1, 8, 8))


def test_learning_rate_rises_then_falls_to_zero():
    rates = [
        learning_rate_factor(step, warmup=5, total=25, schedule="cosine") for step in range(26)
    ]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(b <= a for a, b in itertools.pairwise(rates[5:]))
    assert rates[15] == pytest.approx(0.5)
    assert rates[25] == 0.0
    assert learning_rate_factor(99, warmup=5, total=25, schedule="constant") == 1.0


def test_weights_depend_only_on_the_seed(tiny):
    torch.manual_seed(1)
    first = build_flow(tiny(), (1, 8, 8)).state_dict()
    before = torch.get_rng_state()
    second = build_flow(tiny(), (1, 8, 8)).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_flow(tiny(seed=1), (1, 8, 8)).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_random_state_covers_all_generators():
    random.seed(5)
    state = random_state()

    def draw():
        return torch.randn(3).tolist(), np.random.normal(size=3).tolist(), random.gauss(0, 1)  # noqa: NPY002

    first = draw()
    set_random_state(state)
    assert draw() == first


def test_fixed_noise_restores_the_generator():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with fixed_noise(9):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(inside, expected)


def test_training_learns_and_is_recorded(tmp_path, tiny):
    config = tiny(
        base="vmf", hidden=16, epochs=4, steps_per_epoch=25, learning_rate=1e-2, log_every=5
    )
    run = Run(tmp_path / "run")
    fit(config, run.path, progress=False)
    history = read_history(run.history_file)
    assert [step for step, _ in history["val_bpd"]] == [25, 50, 75, 100]
    assert [step for step, _ in history["train_bpd"]] == list(range(5, 101, 5))
    first, last = history["val_bpd"][0][1], history["val_bpd"][-1][1]
    assert last < first - 0.1
    factor = learning_rate_factor(4, warmup=2, total=100, schedule="cosine")
    assert history["learning_rate"][0] == (5, pytest.approx(factor * config.learning_rate))
    assert run.config() == config

    flow, origin = run.load_flow()
    assert origin["step"] == 100
    assert not flow.training
    bits = flow.bits_per_dim(data_module(config).val_images).mean()
    assert bits.item() == pytest.approx(last, abs=0.02)


def test_training_learns_the_noise(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(dequantization="variational", base="vmf"), run.path, progress=False)
    flow, _ = run.load_flow("last")
    new = build_flow(run.config(), (1, 8, 8))
    before = dict(new.dequantize.named_parameters())
    assert all(not torch.equal(p, before[n]) for n, p in flow.dequantize.named_parameters())
    assert all(p.isfinite().all() for p in flow.parameters())


def test_double_precision(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(precision="64-true", epochs=1), run.path, progress=False)
    flow, _ = run.load_flow("last")
    assert flow.dtype == torch.float64


def test_tensorboard_gets_the_same_numbers(tmp_path, tiny):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = Run(tmp_path / "run")
    fit(tiny(log_every=1, epochs=1), run.path, tensorboard=True, progress=False)
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    expected = read_history(run.history_file)
    for name in ("train_bpd", "val_bpd"):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(step, pytest.approx(value)) for step, value in expected[name]]


def test_a_run_keeps_its_number_of_threads(tmp_path, tiny):
    run = Run(tmp_path / "run")
    torch.set_num_threads(2)
    fit(tiny(threads=None, epochs=1), run.path, progress=False)
    assert run.config().threads == 2
    torch.set_num_threads(1)
    fit(tiny(threads=None, epochs=1), run.path, resume=True, progress=False)
    assert torch.get_num_threads() == 1


def test_missing_devices_are_an_error(tmp_path, tiny):
    with pytest.raises(ConfigError, match=r"devices|accelerator"):
        fit(tiny(accelerator="gpu", devices=99), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_missing_and_damaged_checkpoints(tmp_path, tiny):
    run = Run(tmp_path / "run")
    with pytest.raises(RunError, match=r"found no config\.json there; 'flowkernels train'"):
        run.config()
    fit(tiny(epochs=1), run.path, progress=False)
    with pytest.raises(RunError, match=r"expected a checkpoint \(other\.ckpt\), found none"):
        run.load_flow("other.ckpt")
    whole = run.best.read_bytes()
    run.best.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        RunError, match=r"best\.ckpt: damaged, its end is missing.*Whole in this run: last"
    ):
        run.load_flow()
    values = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**values, "hidden": 5}))
    with pytest.raises(RunError, match=r"the weights do not fit .*config\.json"):
        run.load_flow("last")

"""Training on tables: units, exact resumption, refusals."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from flowkernels.experiments.evaluation.rows import log_likelihoods, log_scale, mean_score
from flowkernels.experiments.training import (
    ConfigError,
    Run,
    RunConfig,
    RunError,
    TableConfig,
    fit,
    read_history,
    table_module,
)
from flowkernels.experiments.training import size as sizes
from flowkernels.experiments.training.checkpoint import AtomicCheckpointIO
from flowkernels.experiments.training.run import flow_of
from flowkernels.experiments.training.settings import setting_of
from tests.experiments.tabular import EXPECTED, write

from .same import assert_same_runs

KEPT = {
    "data": "other.csv",
    "context": "a",
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "flow": "realnvp",
    "transform": "spline",
    "layers": 3,
    "hidden": 9,
    "bins": 5,
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


@pytest.fixture
def table(tmp_path):
    """A configuration on a table in a file of its own."""
    config = TableConfig(
        data=str(write(tmp_path / "rows.csv", 300)),
        context="a,b",
        flow="maf",
        layers=2,
        hidden=8,
        bins=4,
        epochs=3,
        steps_per_epoch=3,
        batch_size=64,
        warmup_steps=2,
        checkpoint_every=2,
        log_every=2,
        accelerator="cpu",
        threads=1,
    )
    return lambda **changes: dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"flow": "nsf"},
        {"flow": "maf"},
        {"transform": "spline"},
        {"flow": "realnvp", "context": None},
        {"base": "resampled", "precision": "64-true"},
        {"ema_decay": 0.99},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_resumed_from_every_checkpoint(tmp_path, table, monkeypatch, changes):
    config = table(**changes)
    moments = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_copy(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        moments.append(tmp_path / f"moment{len(moments)}")
        shutil.copytree(tmp_path / "whole", moments[-1])

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_copy)
    fit(config, tmp_path / "whole", progress=False)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    assert len(moments) >= 6
    for moment in moments[::2]:
        fit(config, moment, resume=True, progress=False)
        assert_same_runs(tmp_path / "whole", moment)
    history = read_history(tmp_path / "whole" / "metrics.csv")
    assert [step for step, _ in history["val_nll"]] == [3, 6, 9]
    flow, origin = Run(tmp_path / "whole").load_flow("last")
    assert origin["columns"] == ["x", "a", "b", "y"]
    assert flow.dtype == (torch.float64 if "precision" in changes else torch.float32)


def test_the_known_density_is_learned_in_the_tables_units(tmp_path, table):
    changes = {"epochs": 40, "steps_per_epoch": 10, "learning_rate": 1e-2, "batch_size": 128}
    write(tmp_path / "rows.csv", 3000)
    config = table(**changes, layers=1, hidden=64)
    fit(config, tmp_path / "run", progress=False)
    flow, _ = Run(tmp_path / "run").load_flow()
    data = table_module(config).dataset
    x, context = data.split(data.test)
    score = mean_score(log_likelihoods(flow, x, context))
    assert abs(score["mean"] - EXPECTED) < 0.05 + 3 * score["standard_error"]
    scale = data.split(data.train)[0].double().std(0, correction=0)
    assert log_scale(flow) == pytest.approx(float(scale.log().sum()), rel=1e-5)


def test_units_change_the_density_by_their_jacobian_alone(tmp_path, table):
    def other_units(rows):
        return rows * [1000, 0.25, 8, 1] + [0, 3, -1, 0]

    scores = []
    for name, rows in (("one", None), ("two", other_units)):
        path = write(tmp_path / f"{name}.csv", 300, rows=rows)
        config = table(data=str(path), flow="nsf")
        fit(config, tmp_path / name, progress=False)
        flow, _ = Run(tmp_path / name).load_flow("last")
        data = table_module(config).dataset
        scores.append(log_likelihoods(flow, *data.split(data.test)))
    assert torch.allclose(scores[0] - np.log(1000), scores[1], atol=2e-3)


def test_one_column(tmp_path, table):
    config = table(context="a,b,x", epochs=1)
    fit(config, tmp_path / "run", progress=False)
    flow, _ = Run(tmp_path / "run").load_flow("last")
    assert flow.sample(3, torch.zeros(2, 3)).shape == (2, 3, 1)
    with pytest.raises(ConfigError, match=r"flow: expected maf for one modelled column.*got nsf"):
        fit(table(context="a,b,x", flow="nsf"), tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_every_setting_is_kept_with_a_reason_or_may_change():
    declared = {field.name: setting_of(field).kept for field in dataclasses.fields(TableConfig)}
    assert {name for name, kept in declared.items() if kept} == set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_setting_is_refused_with_its_reason(tmp_path, table, name):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    table().save(run.config_file)
    with pytest.raises(ConfigError, match=rf"keeps its settings, got {name} \("):
        fit(table(**{name: KEPT[name]}), run.path, resume=True, progress=False)


def test_a_run_on_images_does_not_become_one_on_a_table(tmp_path, table):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    RunConfig(data="digits").save(run.config_file)
    message = r"keeps its data, got 'digits' \(images\) -> .*rows.csv' \(a table\)"
    with pytest.raises(ConfigError, match=message):
        fit(table(), run.path, resume=True, progress=False)


def test_a_table_of_other_columns_is_refused(tmp_path, table):
    fit(table(), tmp_path / "run", progress=False)
    write(tmp_path / "rows.csv", 300, header="x,b,a,y")
    with pytest.raises(RunError, match=r"expected the columns .*\['x', 'a', 'b', 'y'\], found"):
        fit(table(epochs=4), tmp_path / "run", resume=True, progress=False)


def test_a_moved_table(tmp_path, table):
    run = Run(tmp_path / "run")
    fit(table(epochs=1), run.path, progress=False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "rows.csv").rename(tmp_path / "elsewhere" / "rows.csv")
    moved = table(epochs=2, data_dir=str(tmp_path / "elsewhere"))
    fit(moved, run.path, resume=True, progress=False)
    assert run.config() == moved


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "digits"}, r"data: expected the path of a table \(.csv, .npy, .npz\), got 'dig"),
        ({"flow": "glow"}, "flow: expected nsf or maf or realnvp, got 'glow'"),
        ({"flow": "nsf", "transform": "spline"}, "transform: expected affine unless flow is maf"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "expected less than 1 together, got 0.6"),
        ({"context": 3}, "context: expected text, got 3"),
        ({"hidden": 16_384, "layers": 1000}, "layers, hidden: a flow of at least"),
        ({"batch_size": 2, "devices": 1000}, "a training row for each of 1000 devices, got 240"),
    ],
)
def test_wrong_settings(tmp_path, table, values, message):
    with pytest.raises(ValueError, match=message):
        fit(table(**values), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{}, {"flow": "nsf"}, {"flow": "realnvp"}])
@pytest.mark.parametrize("dim", [2, 30])
def test_the_bound_of_the_size_is_a_bound(table, changes, dim):
    config = table(**changes, hidden=32)
    actual = sum(p.numel() for p in flow_of(config, (dim,)).parameters())
    assert sizes.fewest_parameters(config, (dim,)) <= actual


def test_a_configuration_larger_than_the_checkpoint(tmp_path, table):
    run = Run(tmp_path / "run")
    fit(table(epochs=1), run.path, progress=False)
    dataclasses.replace(run.config(), hidden=16_000, layers=1000).save(run.config_file)
    with pytest.raises(
        RunError, match=r"last\.ckpt: the weights do not fit .*: its layers and hid"
    ):
        run.load_flow("last")

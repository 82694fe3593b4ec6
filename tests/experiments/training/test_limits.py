"""Settings out of any range: an error that names the setting, before anything is built."""

import dataclasses
import json
import math

import pytest

from flowkernels.experiments.study.densities import DensitiesStudy
from flowkernels.experiments.study.double_well import DoubleWellStudy
from flowkernels.experiments.study.image_plan import Evaluation
from flowkernels.experiments.training import (
    ConfigError,
    Run,
    RunConfig,
    TableConfig,
    build_flow,
    fit,
)
from flowkernels.experiments.training import size as sizes
from flowkernels.experiments.training.settings import setting_of

RECORDS = (RunConfig, TableConfig, Evaluation, DensitiesStudy, DoubleWellStudy)
WILD = (
    10**400,
    -(10**400),
    2**64,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
    True,
    [],
    [[[1]]],
    {"a": 1},
    "x" * 10**6,
    "\0",
    b"bytes",
    list(range(10**5)),
)


@pytest.mark.parametrize("record", RECORDS)
def test_wild_values_are_refused_by_name(record):
    for field in dataclasses.fields(record):
        for value in WILD:
            with pytest.raises(ConfigError, match=f"{field.name}: expected") as caught:
                record.from_dict({field.name: value}, source="file") if hasattr(
                    record, "from_dict"
                ) else record(**{field.name: value})
            assert len(str(caught.value)) < 600


@pytest.mark.parametrize("record", RECORDS)
def test_every_number_has_an_upper_bound(record):
    for field in dataclasses.fields(record):
        default = field.default
        if isinstance(default, (int, float)) or (
            default is None and field.name not in ("data_dir", "context")
        ):
            with pytest.raises(ConfigError, match=rf"{field.name}: expected .* (to|up to) \d"):
                setting_of(field).check(field.name, 10**40)


@pytest.mark.parametrize("name", ["seed", "seeds"])
def test_the_largest_seed_of_torch_is_accepted(tiny, name):
    record = RunConfig if name == "seed" else DensitiesStudy
    for value, ok in ((2**64 - 1, True), (2**64, False)):
        given = {name: value if name == "seed" else (value,)}
        if ok:
            assert record(**given)
        else:
            with pytest.raises(ConfigError, match=rf"{name}: expected .* to 18446744073709551615"):
                record(**given)


def test_the_largest_seed_trains(tmp_path, tiny):
    fit(tiny(epochs=1, seed=2**64 - 1), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 65_536, "steps": 1000}, "levels, steps, hidden: a flow of at least"),
        ({"hidden": 16_384, "steps": 200}, "levels, steps, hidden: a flow of at least"),
        ({"devices": 1000}, r"devices: expected at most \d+ on this machine's CPU, got 1000"),
        ({"levels": 16}, "levels"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_built(tmp_path, tiny, changes, message):
    with pytest.raises(ConfigError, match=message):
        fit(tiny(**changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_activations_count(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(sizes, "memory", lambda: 100_000_000)
    with pytest.raises(ConfigError, match=r"batch_size, steps, hidden: .* needs at least"):
        fit(tiny(batch_size=1 << 20, hidden=256, steps=4), tmp_path / "run", progress=False)


def test_the_part_of_a_batch_counts(tmp_path, tiny, monkeypatch):
    """877 images at once or 9: the activations of the first do not fit."""
    config = tiny(batch_size=2000, hidden=64, epochs=1, steps_per_epoch=1, val_size=560)
    weights = 4 * 4 * sizes.fewest_parameters(config, (1, 8, 8))
    activations = 4 * sizes.fewest_activations(config, (1, 8, 8), 877)
    monkeypatch.setattr(sizes, "memory", lambda: weights + activations // 10)
    with pytest.raises(ConfigError, match="batch_size, steps, hidden"):
        fit(config, tmp_path / "run", progress=False)
    fit(dataclasses.replace(config, accumulate=100), tmp_path / "run", progress=False)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
@pytest.mark.parametrize("levels", [1, 2])
def test_the_bounds_are_bounds(tiny, shape, levels):
    config = tiny(levels=levels, steps=2, hidden=24)
    actual = sum(p.numel() for p in build_flow(config, shape).parameters())
    assert actual / 3 < sizes.fewest_parameters(config, shape) <= actual


def test_a_configuration_larger_than_the_checkpoint(tmp_path, tiny):
    """A stranger's run may have a configuration that would take all memory."""
    from flowkernels.experiments.training import RunError

    run = Run(tmp_path / "run")
    fit(tiny(epochs=1), run.path, progress=False)
    values = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**values, "hidden": 60_000, "steps": 1000}))
    with pytest.raises(
        RunError, match=r"last\.ckpt: the weights do not fit .*config\.json: its le"
    ):
        run.load_flow("last")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "expected JSON"),
        ('{"hidden": ' + "9" * 5000 + "}", "expected JSON|hidden: expected"),
        (" " * 300_000, "expected settings in at most 262144 bytes"),
        ('{"hidden": 1000000000}', "hidden: expected a whole number from 1 to 65536"),
        ('{"data_dir": "a\\u0000b"}', "data_dir: expected a line"),
        (
            json.dumps({f"setting{i}": 0 for i in range(5000)}),
            r"unknown setting setting0, .*\.\.\.",
        ),
    ],
)
def test_hostile_configurations(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1500

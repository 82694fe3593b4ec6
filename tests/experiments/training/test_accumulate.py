"""A batch in parts gives the step of the whole batch."""

import dataclasses

import pytest
import torch

from flowkernels.bijections import Dequantize
from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training import (
    ConfigError,
    FlowModule,
    NonFiniteError,
    Run,
    TableConfig,
    fit,
    read_history,
)
from tests.experiments.tabular import write


@pytest.fixture
def without_noise(monkeypatch):
    """Images at the centres of their bins: noise would depend on the parts."""
    monkeypatch.setattr(Dequantize, "forward", Dequantize.centre)


@pytest.fixture
def sizes(monkeypatch):
    """The sizes of what training computes at once, with gradients."""
    seen, score = [], FlowModule.score

    def watched(self, batch):
        if self.training and torch.is_grad_enabled():
            seen.append(len(batch))
        return score(self, batch)

    monkeypatch.setattr(FlowModule, "score", watched)
    return seen


def assert_close(one, two):
    """The same steps up to rounding in float64."""
    one, two = Run(one), Run(two)
    first, second = (load_tensors(run.last) for run in (one, two))
    assert first["global_step"] == second["global_step"]
    for name, value in first["state_dict"].items():
        assert torch.allclose(value, second["state_dict"][name], rtol=1e-9, atol=1e-9), name
    first, second = (read_history(run.history_file) for run in (one, two))
    for name, values in first.items():
        assert values == [(step, pytest.approx(v, rel=1e-9)) for step, v in second[name]], name


@pytest.mark.parametrize(("parts", "expected"), [(2, [16, 16]), (5, [7, 7, 6, 6, 6])])
def test_images(tmp_path, tiny, without_noise, sizes, parts, expected):
    """The actnorms start from the whole batch, too."""
    config = tiny(levels=2, precision="64-true", log_every=1, gradient_clip=0.5)
    fit(config, tmp_path / "whole", progress=False)
    assert sizes == [32] * 12
    sizes.clear()
    fit(dataclasses.replace(config, accumulate=parts), tmp_path / "parts", progress=False)
    assert sizes == expected * 12
    assert_close(tmp_path / "whole", tmp_path / "parts")


def test_a_table_smaller_than_a_batch(tmp_path):
    config = TableConfig(
        data=str(write(tmp_path / "rows.csv", 300)),
        layers=2,
        hidden=8,
        bins=4,
        epochs=3,
        batch_size=256,  # more than the 240 rows
        log_every=1,
        precision="64-true",
        accelerator="cpu",
        threads=1,
    )
    fit(config, tmp_path / "whole", progress=False)
    for parts in (7, 256):
        fit(dataclasses.replace(config, accumulate=parts), tmp_path / f"{parts}", progress=False)
        assert_close(tmp_path / "whole", tmp_path / f"{parts}")


def test_bfloat16(tmp_path, tiny, without_noise):
    """Weights that autocast has cast for one part serve no other."""
    config = tiny(precision="bf16-mixed", epochs=1, log_every=1)
    scores = []
    for name, parts in (("whole", 1), ("parts", 4)):
        fit(dataclasses.replace(config, accumulate=parts), tmp_path / name, progress=False)
        scores.append(read_history(Run(tmp_path / name).history_file)["train_bpd"])
    for (step, one), (again, two) in zip(*scores, strict=True):
        assert step == again
        assert one == pytest.approx(two, abs=0.02)


def test_a_part_that_is_not_finite(tmp_path, tiny, monkeypatch):
    calls, score = [], FlowModule.score

    def poisoned(self, batch):
        if self.training and torch.is_grad_enabled():
            calls.append(len(batch))
        return score(self, batch) * (float("nan") if len(calls) == 2 * 4 + 3 else 1.0)

    monkeypatch.setattr(FlowModule, "score", poisoned)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError, match=r"^step 3 ") as caught:
        fit(tiny(accumulate=4), run.path, progress=False)
    assert caught.value.good_steps == 2


def test_what_cannot_be_accumulated(tiny):
    with pytest.raises(
        ConfigError, match="accumulate: expected at most the batch_size, 32, got 33"
    ):
        tiny(accumulate=33)
    with pytest.raises(ConfigError, match="accumulate: expected 1 with several devices, got 2"):
        tiny(accumulate=2, devices=2)
    with pytest.raises(ConfigError, match="accumulate: expected a whole number from 1, got 0"):
        tiny(accumulate=0)

"""Averaged weights: what they are, and who uses them."""

import dataclasses

import pytest
import torch

from flowkernels.experiments.data.tensor_file import load_tensors, save_tensors
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.experiments.training import FlowModule, Run, RunError, data_module, fit
from flowkernels.experiments.training.averaging import AveragedWeights, decay_at
from flowkernels.experiments.training.module import _VALIDATION_SEED

from .same import assert_same


@pytest.fixture
def seen(monkeypatch):
    """The weights after each step of a run, as the optimiser left them."""
    kept = []
    step = FlowModule.optimizer_step

    def watched(self, *args, **kwargs):
        step(self, *args, **kwargs)
        kept.append({name: p.detach().clone() for name, p in self.named_parameters()})

    monkeypatch.setattr(FlowModule, "optimizer_step", watched)
    return kept


def test_the_average_is_that_of_the_definition(tmp_path, tiny, seen):
    run = Run(tmp_path / "run")
    fit(tiny(ema_decay=0.5), run.path, progress=False)
    assert len(seen) == 12
    averaged = {name: value.double() for name, value in seen[0].items()}
    for n, weights in enumerate(seen[1:], start=1):
        d = min(0.5, (1 + n) / (10 + n))
        averaged = {k: d * v + (1 - d) * weights[k].double() for k, v in averaged.items()}
    saved = load_tensors(run.last)
    assert saved["averaged"].keys() == averaged.keys()
    for name, value in averaged.items():
        assert torch.allclose(saved["averaged"][name].double(), value, atol=1e-6, rtol=1e-6)
        assert torch.equal(saved["state_dict"][name], seen[-1][name])


def test_the_average_changes_no_step(tmp_path, tiny):
    for name, decay in (("plain", 0.0), ("averaged", 0.9)):
        fit(tiny(ema_decay=decay), tmp_path / name, progress=False)
    plain, averaged = (load_tensors(Run(tmp_path / n).last) for n in ("plain", "averaged"))
    assert_same(plain["state_dict"], averaged["state_dict"])
    assert_same(plain["optimizer_states"], averaged["optimizer_states"])
    assert "averaged" not in plain


def test_the_average_is_validated_and_read(tmp_path, tiny):
    config = tiny(ema_decay=0.9, learning_rate=1e-2, epochs=2)
    run = Run(tmp_path / "run")
    module = fit(config, run.path, progress=False)
    saved = load_tensors(run.last)
    flow, origin = run.load_flow("last")
    raw, raw_origin = run.load_flow("last", averaged=False)
    assert (origin["averaged"], raw_origin["averaged"]) == (True, False)
    for name, value in flow.state_dict().items():
        expected = saved["averaged"].get(f"flow.{name}", saved["state_dict"][f"flow.{name}"])
        assert torch.equal(value, expected)
    for name, value in raw.state_dict().items():
        assert torch.equal(value, saved["state_dict"][f"flow.{name}"])
    for name, value in module.flow.state_dict().items():
        assert torch.equal(value, saved["state_dict"][f"flow.{name}"])

    images = data_module(config).val_images
    assert len(images) <= 250  # one batch

    def score(flow):
        with torch.no_grad(), fixed_noise(_VALIDATION_SEED):
            return float(flow.bits_per_dim(images).double().mean())

    assert module.val_score == pytest.approx(score(flow), abs=1e-6)
    assert abs(score(raw) - score(flow)) > 1e-3


def test_a_run_without_it_says_nothing_of_averages(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(epochs=1), run.path, progress=False)
    flow, origin = run.load_flow("last")
    assert "averaged" not in origin
    assert_same(
        dict(flow.state_dict()), dict(run.load_flow("last", averaged=False)[0].state_dict())
    )


@pytest.mark.parametrize(
    "averaged", [None, {}, {"flow.x": torch.ones(2)}, "another shape", "not tensors"]
)
def test_a_checkpoint_with_wrong_averages_is_not_resumed(tmp_path, tiny, averaged):
    run = Run(tmp_path / "run")
    config = tiny(ema_decay=0.9)
    fit(dataclasses.replace(config, epochs=1), run.path, progress=False)
    state = load_tensors(run.last)
    if averaged == "another shape":
        averaged = {name: value[None] for name, value in state["averaged"].items()}
    elif averaged == "not tensors":
        averaged = dict.fromkeys(state["averaged"], 3)
    for path in run.known.values():
        save_tensors(path, {**state, "averaged": averaged})
    with pytest.raises(RunError, match=r"last\.ckpt: .*cannot be resumed"):
        fit(config, run.path, resume=True, progress=False)


def test_precision_may_change(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(ema_decay=0.9, epochs=1), run.path, progress=False)
    fit(tiny(ema_decay=0.9, epochs=2, precision="64-true"), run.path, resume=True, progress=False)
    assert all(v.dtype == torch.float64 for v in load_tensors(run.last)["averaged"].values())
    assert run.load_flow("last")[0].dtype == torch.float64


def test_decay():
    assert decay_at(0, 0.9) == 0.1
    assert decay_at(10**9, 0.9) == 0.9
    decays = [decay_at(n, 0.9999) for n in range(1000)]
    assert decays == sorted(decays)


def test_memory_layout_is_kept():
    layer = torch.nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    average = AveragedWeights(layer, 0.9)
    assert average.values["weight"].stride() == layer.weight.stride()

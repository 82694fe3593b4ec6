"""Training on a GPU: non-finite steps are found later and change nothing."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flowkernels.experiments.training import FlowModule, NonFiniteError, Run, fit
from flowkernels.experiments.training.finite import FiniteSteps, NonFinite
from flowkernels.experiments.training.progress import LiveBar


@pytest.fixture
def fused(monkeypatch):
    """Trains on the CPU as on a GPU: looks for non-finite steps every few steps."""
    monkeypatch.setattr(FlowModule, "_defers", lambda self: True)


@pytest.fixture
def poison(monkeypatch):
    """Makes the loss non-finite after a number of steps, and keeps the weights of each step."""
    states = {}

    def install(at):
        step = FlowModule.training_step

        def poisoned(self, batch, index):
            weights = {k: v.detach().clone() for k, v in self.flow.state_dict().items()}
            states.setdefault(self.global_step, weights)
            loss = step(self, batch, index)
            if self.global_step != at:
                return loss
            self._loss = loss.detach() * math.nan
            return loss * math.nan

        monkeypatch.setattr(FlowModule, "training_step", poisoned)
        return states

    return install


def test_first_non_finite_step_is_recorded():
    steps = FiniteSteps(torch.device("cpu"))
    assert steps.look() is None
    for loss, norm in [(2.0, 1.0), (1.0, 1.0)]:
        steps.add(torch.tensor(loss), torch.tensor(norm))
    assert steps.look() is None
    for loss, norm in [(2.0, 1.0), (3.0, math.inf), (math.nan, 1.0), (1.0, 1.0)]:
        steps.add(torch.tensor(loss), torch.tensor(norm))
    assert steps.stop == 1
    assert steps.look() == NonFinite(after=1, loss=3.0, gradient_norm=math.inf)
    assert steps.stop == 1


@pytest.mark.parametrize("at", [0, 1, 5, 6, 7, 8])
def test_error_names_the_step_and_weights_are_unchanged(tmp_path, tiny, poison, fused, at):
    """At every kind of check: log_every is 6, an epoch has 4 steps, a checkpoint every 5 steps."""
    states = poison(at)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError) as caught:
        fit(tiny(checkpoint_every=5, log_every=6), run.path, progress=False)
    message = str(caught.value)
    assert message.startswith(f"step {at + 1} (epoch {at // 4 + 1}): the loss is nan bits")
    assert caught.value.good_steps == at
    seen = [step for step in states if step > at]
    for step in seen:
        # The first batch initialises the ActNorms, which is not an optimiser step.
        assert at == 0 or all(torch.equal(states[at][k], v) for k, v in states[step].items())
    if at < 6:
        assert not run.last.exists() or torch.load(run.last, weights_only=True)["global_step"] < at
    if run.last.exists():
        last = torch.load(run.last, weights_only=True)
        assert last["global_step"] < at
        assert f"(step {last['global_step']})" in message
        assert all(torch.isfinite(v).all() for v in last["state_dict"].values())
    else:
        assert "No checkpoint was written before that" in message


def test_checkpoint_with_bad_weights_is_rolled_back(tmp_path, tiny, poison, fused):
    poison(6)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError, match=r"last\.ckpt \(step 5\)"):
        fit(tiny(checkpoint_every=1, log_every=6), run.path, progress=False)
    assert torch.load(run.last, weights_only=True)["global_step"] == 5


def test_fused_training_resumes_exactly(tmp_path, tiny, fused):
    from .same import assert_same_runs

    config = tiny(checkpoint_every=3, epochs=2)
    fit(config, tmp_path / "whole", progress=False)
    stopped = Run(tmp_path / "stopped")
    fit(tiny(checkpoint_every=3, epochs=2), stopped.path, progress=False)
    stopped.previous.replace(stopped.last)
    fit(config, stopped.path, resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", stopped.path)


class Reads(TorchDispatchMode):
    """Counts the values that the host reads, by training step."""

    def __init__(self):
        super().__init__()
        self.step, self.at = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name == "aten::_local_scalar_dense":
            self.at.append(self.step)
        return func(*args, **(kwargs or {}))


def test_training_step_does_not_synchronize(tmp_path, tiny, fused, monkeypatch):
    """Lightning, callbacks and bar read only every log_every steps and at the end of an epoch."""
    reads = Reads()
    step = FlowModule.training_step

    def counted(self, batch, index):
        reads.step = self.global_step + 1
        return step(self, batch, index)

    monkeypatch.setattr(FlowModule, "training_step", counted)
    monkeypatch.setattr("flowkernels.experiments.training.trainer.progress_callback", LiveBar)
    config = tiny(epochs=2, steps_per_epoch=10, log_every=4, checkpoint_every=100)
    with reads:
        fit(config, tmp_path / "run")
    # The first step initialises the ActNorms, which on the CPU reads the batch.
    assert set(reads.at) <= {0, 1, 4, 8, 10, 12, 16, 20}, sorted(set(reads.at))
    assert {4, 8, 10, 12, 16, 20} <= set(reads.at)


def test_bar_shows_the_last_read_scores(tiny):
    module = FlowModule(torch.nn.Identity())
    assert LiveBar().get_metrics(None, module) == {}
    module.train_score, module.val_score = 4.5, 4.25
    assert LiveBar().get_metrics(None, module) == {"bpd": 4.5, "val_bpd": 4.25}


# Lightning starts the second process by running this file again.
TWO_PROCESSES = """
import json, sys
from pathlib import Path
import torch
from flowkernels.experiments.training import FlowModule, NonFiniteError, RunConfig, fit

torch.set_num_threads(1)
FlowModule._defers = lambda self: True
step = FlowModule.training_step

def poisoned(self, batch, index):
    loss = step(self, batch, index)
    if self.trainer.global_rank == 1 and self.global_step == 2:
        self._loss = loss.detach() * float("nan")  # of one process, and of none's gradient
    poisoned.rank = self.trainer.global_rank
    return loss

FlowModule.training_step = poisoned
try:
    fit(RunConfig(**json.loads(sys.argv[2])), sys.argv[1], progress=False)
except NonFiniteError as error:
    Path(sys.argv[3], f"rank{poisoned.rank}").write_text(str(error))
"""


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step(tmp_path, tiny):
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES)
    settings = json.dumps(tiny(devices=2, log_every=4, checkpoint_every=100).to_dict())
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), settings, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, check=False,
    )  # fmt: skip
    for rank in (0, 1):
        assert (tmp_path / f"rank{rank}").read_text().startswith("step 3 (epoch 1): ")

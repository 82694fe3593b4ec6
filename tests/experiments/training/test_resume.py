"""A run that is stopped anywhere and resumed gives exactly the results of an unstopped run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from flowkernels.experiments.training import ConfigError, Run, RunError, fit, read_history
from flowkernels.experiments.training.checkpoint import AtomicCheckpointIO

from .same import assert_same_runs

# Trains the run with the given folder and settings; if told so, dies while writing a given
# checkpoint.
SCRIPT = """
import json, os, signal, sys
import torch
from flowkernels.experiments.training import RunConfig, fit

torch.set_num_threads(1)
folder, settings, deadly, pause = sys.argv[1:]
settings, deadly = json.loads(settings), int(deadly)
count, whole = 0, torch.save

def save(checkpoint, file):
    global count
    count += 1
    if count == deadly:
        file.write(b"PK half a checkpoint")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(checkpoint, file)

torch.save = save
if float(pause):
    import time
    from flowkernels.experiments.training import FlowModule
    step = FlowModule.training_step
    def slow(self, batch, index):
        time.sleep(float(pause))
        return step(self, batch, index)
    FlowModule.training_step = slow
fit(RunConfig(**settings), folder, resume=True, progress=False)
"""


def start(folder, config, deadly=0, pause=0.0):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [str(folder), json.dumps(config.to_dict()), str(deadly), str(pause)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], env=environment, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize(
    ("every", "changes"),
    [
        (1, {}),
        (3, {"base": "vmf", "levels": 2}),
        (2, {"val_size": 0, "dequantization": "variational"}),
        (4, {"base": "resampled"}),
        (5, {"steps_per_epoch": 1, "epochs": 5, "log_every": 1}),
        (3, {"ema_decay": 0.9, "accumulate": 5}),
    ],
)
def test_resumed_from_every_checkpoint(tmp_path, tiny, monkeypatch, every, changes):
    config = tiny(checkpoint_every=every, **changes)
    moments = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_copy(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        moments.append(tmp_path / f"moment{len(moments)}")
        shutil.copytree(tmp_path / "whole", moments[-1])

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_copy)
    fit(config, tmp_path / "whole", progress=False)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)

    whole = Run(tmp_path / "whole")
    assert len(moments) >= 5
    for moment in moments:
        fit(config, moment, resume=True, progress=False)
        if config.val_size:
            assert_same_runs(whole.path, moment)
        else:
            assert whole.history_file.read_text() == Run(moment).history_file.read_text()


@pytest.mark.parametrize("deadly", [4])
def test_killed_while_writing_a_checkpoint(tmp_path, tiny, deadly):
    config = tiny(checkpoint_every=2)
    fit(config, tmp_path / "whole", progress=False)
    with start(tmp_path / "killed", config, deadly=deadly) as killed:
        assert killed.wait(120) == -signal.SIGKILL
    run = Run(tmp_path / "killed")
    assert len(list(run.checkpoints.glob(".*.unfinished"))) == 1
    fit(config, run.path, resume=True, progress=False)
    assert not list(run.checkpoints.glob(".*"))
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


def test_killed_in_the_middle_of_an_epoch(tmp_path, tiny):
    config = tiny(checkpoint_every=3, log_every=1)
    fit(config, tmp_path / "whole", progress=False)
    run = Run(tmp_path / "killed")
    with start(run.path, config, pause=0.2) as process:
        # Rows of metrics.csv: the header, 4 + 1 of the first epoch, 1 and 2 of the second.
        deadline = time.monotonic() + 120
        while not run.history_file.exists() or run.history_file.read_text().count("\n") < 8:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    step = torch.load(run.last, weights_only=True)["global_step"]
    assert step < 12
    fit(config, run.path, resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", run.path)


def test_resume_without_a_checkpoint_starts_a_run(tmp_path, tiny):
    config = tiny()
    fit(config, tmp_path / "whole", progress=False)
    run = Run(tmp_path / "begun")
    run.path.mkdir()
    config.save(run.config_file)
    run.history_file.write_text("step,epoch\n1,0\n2,")
    fit(config, run.path, resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", run.path)


def test_resuming_a_finished_run_changes_nothing(tmp_path, tiny):
    config = tiny(epochs=1)
    fit(config, tmp_path / "run", progress=False)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    fit(config, tmp_path / "run", resume=True, progress=False)
    after = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert before == after


def test_run_is_neither_overwritten_nor_changed(tmp_path, tiny):
    config = tiny(epochs=1)
    fit(config, tmp_path / "run", progress=False)
    with pytest.raises(RunError, match="already contains a run; resume it with --resume"):
        fit(config, tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"keeps its settings, got seed \(0 -> 7\): the order of"):
        fit(tiny(epochs=1, seed=7), tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", ["lost", "cut", "changed"])
def test_history_is_restored_from_the_checkpoint(tmp_path, tiny, logged, finished, damage):
    run = Run(tmp_path / "run")
    fit(tiny(), run.path, progress=False)
    text = run.history_file.read_text()
    if not finished:
        run.previous.replace(run.last)
    if damage == "lost":
        run.history_file.unlink()
    else:
        run.history_file.write_text(text[:40] if damage == "cut" else text.replace("5", "6"))
    fit(tiny(), run.path, resume=True, progress=False)
    assert run.history_file.read_text() == text
    assert "metrics.csv was lost or changed; restored from the checkpoint" in logged.text


@pytest.mark.parametrize("lost", ["all", "some"])
def test_a_checkpoint_without_history_names_the_loss(tmp_path, tiny, logged, lost):
    """Those of older versions have no text, only its length."""
    run = Run(tmp_path / "run")
    fit(tiny(), run.path, progress=False)
    state = torch.load(run.last, weights_only=True)
    (history,) = (value for name, value in state["callbacks"].items() if "History" in name)
    del history["text"]
    torch.save(state, run.last)
    whole = run.history_file.read_text()
    fit(tiny(), run.path, resume=True, progress=False)
    assert run.history_file.read_text() == whole
    assert "rows are lost" not in logged.text
    lines = whole.splitlines(keepends=True)
    run.history_file.write_text("" if lost == "all" else "".join(lines[:3]) + lines[3][:5])
    fit(tiny(epochs=4), run.path, resume=True, progress=False)
    assert "metrics.csv: rows are lost, " in logged.text
    after = run.history_file.read_text()
    assert after.startswith(lines[0] if lost == "all" else "".join(lines[:3]))
    assert [step for step, _ in read_history(run.history_file)["val_bpd"]][-1] == 16

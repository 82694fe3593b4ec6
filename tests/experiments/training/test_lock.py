"""Two trainings never write to one folder."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from flowkernels.experiments.training import Run, RunError, fit
from flowkernels.experiments.training.lock import training_lock

HOLDER = """
import pathlib, sys, time
from flowkernels.experiments.training.lock import training_lock
with training_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in tmp_path/run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_training_is_told_the_first_one(tmp_path, tiny, holder):
    run = Run(tmp_path / "run")
    tiny().save(run.config_file)
    wanted = rf"process {holder.pid} on {socket.gethostname()}, since 20\d\d-.*\+00:00"
    for resume in (True, False):
        with pytest.raises(RunError, match=rf"another training is running in this .*: {wanted}"):
            fit(tiny(), run.path, resume=resume, progress=False)
    assert not run.checkpoints.exists()


def test_two_new_runs_in_one_folder(tmp_path, tiny, holder):
    with pytest.raises(RunError, match=f"process {holder.pid}"):
        fit(tiny(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path, tiny, holder):
    run = Run(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (run.path / ".training.lock").exists()
    fit(tiny(epochs=1), run.path, progress=False)
    assert not (run.path / ".training.lock").exists()


def test_a_locked_run_can_be_read(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(epochs=1), run.path, progress=False)
    with training_lock(run.path):
        assert run.load_flow()[1]["step"] == 4


def test_the_file_names_its_holder_and_goes(tmp_path):
    with training_lock(tmp_path):
        holder = json.loads((tmp_path / ".training.lock").read_text())
        assert holder["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".training.lock").symlink_to(victim)
    with pytest.raises(OSError, match=r"\.training\.lock"), training_lock(tmp_path / "run"):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints", "config.json"])
def test_links_out_of_the_folder_are_refused(tmp_path, tiny, name):
    run = Run(tmp_path / "run")
    fit(tiny(epochs=1), run.path, progress=False)
    outside = tmp_path / "outside"
    (run.path / name).rename(outside)
    (run.path / name).symlink_to(outside)
    files = [outside] if outside.is_file() else sorted(outside.iterdir())
    before = [file.read_bytes() for file in files]
    with pytest.raises(RunError, match=rf"{name}: expected a part .* link to .*outside"):
        fit(tiny(epochs=2), run.path, resume=True, progress=False)
    assert [file.read_bytes() for file in files] == before


def test_the_runs_folder_itself_may_be_a_link(tmp_path, tiny):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    fit(tiny(epochs=1), tmp_path / "run", progress=False)
    assert Run(tmp_path / "disk").last.exists()

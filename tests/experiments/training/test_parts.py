"""Checkpoints in parts: a run gives the same, and falls back in the same way."""

import itertools
import shutil

import pytest

from flowkernels.experiments.data import tensor_file
from flowkernels.experiments.data.parts import entries_in, part_name
from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training import Run, RunError, fit, trainer
from flowkernels.experiments.training.checkpoint import AtomicCheckpointIO

from .conftest import TINY
from .same import assert_same_runs

MOST = 6000


@pytest.fixture
def small_parts(monkeypatch):
    """Parts smaller than the setting allows, so that the tests' checkpoints are cut."""
    monkeypatch.setattr(trainer, "_bytes", lambda mib: mib and MOST)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run with one file for each checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    fit(TINY, folder / "run", progress=False)
    return folder / "run"


def parts_of(path):
    """The names of the parts of a checkpoint."""
    entries = entries_in(path, tensor_file._load_one(path)[0])
    return {part_name(number, sha256) for number, (sha256, _) in enumerate(entries)}


def test_resumed_from_every_checkpoint(whole, tmp_path, tiny, monkeypatch, small_parts):
    config, run = tiny(checkpoint_mib=1), Run(tmp_path / "run")
    moments = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_copy(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        moments.append(tmp_path / f"moment{len(moments)}")
        shutil.copytree(run.path, moments[-1])

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_copy)
    fit(config, run.path, progress=False)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    assert len(moments) >= 12
    for folder in (run.path, *moments[1::4]):
        fit(config, folder, resume=True, progress=False)
        assert_same_runs(whole, folder)
        files = list(Run(folder).checkpoints.iterdir())
        assert all(file.stat().st_size <= MOST for file in files)
        listed = set().union(*(parts_of(path) for path in Run(folder).known.values()))
        assert listed == {file.name for file in files if file.suffix == ".part"}
    assert run.load_flow("best")[1]["step"] == Run(whole).load_flow("best")[1]["step"]


def test_one_file_and_parts_by_turns(whole, tmp_path, tiny, monkeypatch, small_parts):
    """The setting may change: a run in one file continues in parts, and the other way round."""
    from flowkernels.experiments.training import TimeLimit, TimeLimitError

    run = Run(tmp_path / "run")
    for mib in (None, 1):
        seconds = itertools.count()
        limit = TimeLimit(5 / 60, clock=seconds.__next__)
        with pytest.raises(TimeLimitError):
            fit(tiny(checkpoint_mib=mib), run.path, resume=True, progress=False, limit=limit)
    assert parts_of(run.last)
    fit(tiny(), run.path, resume=True, progress=False)
    assert_same_runs(whole, run.path)
    assert not list(run.checkpoints.glob("*.part"))


@pytest.mark.parametrize("damage", ["missing", "changed", "empty"])
def test_a_damaged_part_falls_back(whole, tmp_path, tiny, logged, small_parts, damage):
    run = Run(tmp_path / "run")
    fit(tiny(checkpoint_mib=1), run.path, progress=False)
    run.best.unlink()
    own = parts_of(run.last) - parts_of(run.previous)
    part = run.checkpoints / sorted(own)[-2]
    content = part.read_bytes()
    part.unlink()
    if damage != "missing":
        part.write_bytes(b"" if damage == "empty" else content[:-1] + b"x")
    with pytest.raises(RunError, match=rf"last\.ckpt: damaged, .*{part.name}") as caught:
        run.load_flow("last")
    assert "Whole in this run: previous (step 11)" in str(caught.value)
    fit(tiny(checkpoint_mib=1), run.path, resume=True, progress=False)
    assert part.name in logged.text
    assert f"Resuming from {run.previous} (step 11)" in logged.text
    assert_same_runs(whole, run.path)


def test_stopped_between_parts_and_index(whole, tmp_path, tiny, monkeypatch, small_parts):
    class Killed(BaseException):
        pass

    run, write = Run(tmp_path / "run"), tensor_file.atomic_write
    writes = itertools.count()

    def killed(path):
        if next(writes) == 6:
            raise Killed
        return write(path)

    monkeypatch.setattr(tensor_file, "atomic_write", killed)
    with pytest.raises(Killed):
        fit(tiny(checkpoint_mib=1), run.path, progress=False)
    monkeypatch.setattr(tensor_file, "atomic_write", write)
    left = {path.name for path in run.checkpoints.glob("*.part")}
    assert left > parts_of(run.last) | parts_of(run.previous)
    assert load_tensors(run.last)["global_step"] < 12
    fit(tiny(checkpoint_mib=1), run.path, resume=True, progress=False)
    assert_same_runs(whole, run.path)


def test_the_setting_bounds_the_files(tmp_path, tiny):
    run = Run(tmp_path / "run")
    fit(tiny(hidden=320, epochs=1, checkpoint_mib=1), run.path, progress=False)
    sizes = [file.stat().st_size for file in run.checkpoints.iterdir()]
    assert len(sizes) > 3
    assert max(sizes) == 1 << 20 or max(sizes) > (1 << 20) - 200
    assert run.load_flow()[1]["step"] == 4

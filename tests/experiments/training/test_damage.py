"""Damaged and hostile checkpoints: noticed, named, never executed; training falls back."""

import os
import random
import shutil

import pytest
import torch

from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.data.tensor_file import load_tensors, save_tensors
from flowkernels.experiments.training import Run, RunError, fit

from .conftest import TINY
from .same import assert_same_runs


class Hostile:
    """Pickled, it runs a command when loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def flipped(content, bit):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


DAMAGE = {
    "empty": lambda b: b"",
    "truncated": lambda b: b[: len(b) // 2],
    "without its end": lambda b: b[:-1],
    "random": lambda b: random.Random(0).randbytes(len(b)),
    "zeros": lambda b: bytes(len(b)),
    "flipped": lambda b: flipped(b, 4 * len(b)),
    "longer": lambda b: b + b"x",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of 12 steps, a checkpoint each."""
    folder = tmp_path_factory.mktemp("whole")
    fit(TINY, folder / "run", progress=False)
    return folder / "run"


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.mark.parametrize("damage", DAMAGE)
def test_resumed_from_the_newest_whole_checkpoint(run, whole, tiny, logged, damage):
    run.last.write_bytes(DAMAGE[damage](run.last.read_bytes()))
    run.best.unlink()
    fit(tiny(), run.path, resume=True, progress=False)
    assert f"{run.last}: " in logged.text
    assert f"Resuming from {run.previous} (step 11)" in logged.text
    assert_same_runs(whole, run.path)
    # What was damaged did not become the previous checkpoint.
    assert load_tensors(run.previous)["global_step"] == 11


def test_best_serves_where_last_and_previous_are_damaged(run, whole, tiny, logged):
    step = load_tensors(run.best)["global_step"]
    for path in (run.last, run.previous):
        path.write_bytes(b"")
    fit(tiny(), run.path, resume=True, progress=False)
    assert f"Resuming from {run.best} (step {step})" in logged.text
    assert_same_runs(whole, run.path)


def test_a_missing_last_is_not_a_new_run(run, tiny, logged):
    run.last.unlink()
    fit(tiny(), run.path, resume=True, progress=False)
    assert f"{run.last}: is missing. Resuming from" in logged.text


def test_without_a_whole_checkpoint_every_fault_is_named(run, tiny):
    for path in run.known.values():
        path.write_bytes(b"")
    with pytest.raises(RunError, match="No checkpoint of this run can be read") as caught:
        fit(tiny(), run.path, resume=True, progress=False)
    for path in run.known.values():
        assert f"{path}: damaged, the file is empty" in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGE)
def test_reading_a_damaged_best_names_the_whole_ones(run, damage):
    run.best.write_bytes(DAMAGE[damage](run.best.read_bytes()))
    with pytest.raises(RunError, match=r"best\.ckpt: damaged") as caught:
        run.load_flow()
    message = str(caught.value)
    assert "Whole in this run: last (step 12), previous (step 11)" in message
    assert "take one with --checkpoint last" in message
    assert run.load_flow("previous")[1]["step"] == 11


def test_code_is_named_and_not_run(run, tiny, tmp_path):
    mark = tmp_path / "executed"
    for protocol in (2, 4):
        torch.save({"state_dict": Hostile(mark)}, run.best, pickle_protocol=protocol)
        with pytest.raises(RunError, match=r"best\.ckpt: refused, it holds code \((posix|nt)\."):
            run.load_flow()
    save_tensors(run.last, {"state_dict": Hostile(mark)})  # a checksum is no proof of origin
    with pytest.raises(RunError, match=r"last\.ckpt: refused, it holds code .* was not run"):
        run.load_flow("last")
    fit(tiny(), run.path, resume=True, progress=False)
    assert not mark.exists()


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "file"
    save_tensors(path, {"weights": torch.randn(50), "step": 3})
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 400):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(DamagedFileError, match="file: "):
            load_tensors(path)


def test_a_file_without_a_checksum_loads_with_a_message(tmp_path, logged):
    path = tmp_path / "file"
    torch.save({"weights": torch.ones(64)}, path)
    assert torch.equal(load_tensors(path)["weights"], torch.ones(64))
    assert f"{path} has no checksum (an older version wrote it)" in logged.text
    content = path.read_bytes()
    path.write_bytes(content.replace(torch.ones(1).numpy().tobytes(), b"abcd", 1))
    with pytest.raises(DamagedFileError, match=r"the CRC of its record file/data/0"):
        load_tensors(path)


def test_a_tensor_larger_than_its_data(tmp_path):
    path = tmp_path / "file"
    save_tensors(path, {"weights": torch.zeros(1).expand(10**12)})
    with pytest.raises(DamagedFileError, match=r"shape \(1000000000000,\) exceeds its data"):
        load_tensors(path)


def test_plain_values_and_parameters_survive(tmp_path):
    value = {"a": [1, 2.5, None, True, "text"], "w": torch.nn.Parameter(torch.arange(3.0))}
    save_tensors(tmp_path / "file", value)
    read = load_tensors(tmp_path / "file")
    assert read["a"] == value["a"]
    assert torch.equal(read["w"], value["w"])
    assert torch.equal(torch.load(tmp_path / "file", weights_only=True)["w"], value["w"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_shape": [1, 10**6, 10**6]}, r"event_shape: expected \(C, H, W\) of at most"),
        ({"event_shape": [1, "8", 8]}, r"event_shape: expected"),
        ({"event_shape": [0] * 10**5}, r"event_shape: expected .* got 100000 values"),
        ({"event_shape": None}, "its event_shape is missing or wrong"),
        ({"global_step": "x"}, "its global_step is missing or wrong"),
        ({"state_dict": []}, "its state_dict is missing or wrong"),
        ({"state_dict": {"flow.x": 3, 7: 8}}, "the checkpoint has 0"),
    ],
)
def test_wrong_content_is_named(run, change, message):
    save_tensors(run.best, {**load_tensors(run.best), **change})
    with pytest.raises(RunError, match=message) as caught:
        run.load_flow()
    assert str(run.best) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"loops": None},
        {"loops": {"fit_loop": {}}},
        {"callbacks": {"History": {}}},
        {"random_state": [{"torch": 3}]},
        {"optimizer_states": [{"param_groups": [{}], "state": 5}]},
        {"lr_schedulers": [7]},
        {"state_dict": {"flow.x": torch.ones(3)}},
    ],
)
def test_a_whole_checkpoint_of_something_else_is_not_resumed(run, tiny, change):
    for path in run.known.values():
        save_tensors(path, {**load_tensors(path), **change})
    text = run.history_file.read_text()
    with pytest.raises(RunError, match=r"it cannot be resumed"):
        fit(tiny(epochs=4), run.path, resume=True, progress=False)
    assert run.history_file.read_text().startswith(text)

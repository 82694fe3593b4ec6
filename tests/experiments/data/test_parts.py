"""Files of tensors that are cut into parts: as whole as one file, and as safe to read."""

import os
import random
import shutil

import pytest
import torch

from flowkernels.experiments.data import tensor_file
from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.data.parts import index_of
from flowkernels.experiments.data.tensor_file import load_tensors, save_tensors, sweep_parts

VALUE = {"w": torch.arange(5000.0), "zeros": torch.zeros(4000), "step": 3, "names": ["a"]}


@pytest.fixture
def cut(tmp_path):
    """An index of several parts."""
    save_tensors(tmp_path / "file.ckpt", VALUE, most=4096)
    return tmp_path / "file.ckpt"


def parts(file):
    return sorted(file.parent.glob("*.part"))


def same(value):
    return torch.equal(value["w"], VALUE["w"]) and value["step"] == 3 and value["names"] == ["a"]


def test_no_file_is_larger(cut):
    assert same(load_tensors(cut))
    assert len(parts(cut)) >= 9
    assert all(file.stat().st_size <= 4096 for file in cut.parent.iterdir())
    # Equal parts are apart, by number.
    assert len({file.read_bytes() for file in parts(cut)}) < len(parts(cut))


def test_a_file_that_fits_is_one_file(tmp_path):
    save_tensors(tmp_path / "plain", VALUE)
    size = (tmp_path / "plain").stat().st_size
    save_tensors(tmp_path / "fits", VALUE, most=size)
    assert (tmp_path / "fits").stat().st_size == size
    assert parts(tmp_path / "fits") == []
    assert same(torch.load(tmp_path / "fits", weights_only=True))
    save_tensors(tmp_path / "cut", VALUE, most=size - 1)
    assert len(parts(tmp_path / "cut")) == 2
    assert same(load_tensors(tmp_path / "cut"))


def test_every_changed_byte_is_noticed(cut):
    chance = random.Random(0)
    for file in [cut, *parts(cut)]:
        content = file.read_bytes()
        for at in chance.sample(range(len(content)), 10):
            changed = bytearray(content)
            changed[at] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            with pytest.raises(DamagedFileError) as caught:
                load_tensors(cut)
            assert str(file) in str(caught.value)
            assert str(cut) in str(caught.value)
        file.write_bytes(content)
    assert same(load_tensors(cut))


@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "pipe", "folder", "another"])
def test_a_part_that_is_wrong_is_named(cut, damage):
    part = parts(cut)[3]
    content = part.read_bytes()
    part.unlink()
    if damage == "pipe":
        os.mkfifo(part)  # reading would wait for ever
    elif damage == "folder":
        part.mkdir()
    elif damage != "missing":
        changed = {"cut": content[:-1], "longer": content + b"x"}
        part.write_bytes(changed.get(damage, parts(cut)[1].read_bytes()))
    what = "is missing" if damage == "missing" else "does not match its checksum"
    with pytest.raises(DamagedFileError, match=rf"file\.ckpt: damaged, .*{part.name} {what}"):
        load_tensors(cut)


@pytest.mark.parametrize(
    "entries",
    [
        None,
        [],
        [["../../../../../../etc/passwd", 10]],
        [["0" * 64]],
        [["0" * 64, -1]],
        [["0" * 64, True]],
        [["0" * 64, 10**30]],
        [[7, 3]],
        [["0" * 64, 3]] * 10_000,
    ],
)
def test_a_crafted_index(cut, entries):
    value = index_of([])
    save_tensors(cut, dict.fromkeys(value, entries))
    with pytest.raises(DamagedFileError, match=r"file\.ckpt: damaged") as caught:
        load_tensors(cut)
    assert len(str(caught.value)) < 1000


def test_a_part_holds_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    save_tensors(tmp_path / "file", {"w": torch.zeros(3000), "x": Hostile()}, most=2048)
    assert len(parts(tmp_path / "file")) > 3
    with pytest.raises(DamagedFileError, match=r"file: refused, it holds code \((posix|nt)\."):
        load_tensors(tmp_path / "file")
    assert not (tmp_path / "mark").exists()


def test_only_parts_without_an_index_are_swept(cut):
    shutil.copyfile(cut, cut.with_name("copy.ckpt"))
    before = parts(cut)
    stranger = cut.with_name("download.part")
    stranger.touch()
    save_tensors(cut, {**VALUE, "w": VALUE["w"] + 1}, most=4096)
    assert set(before) < set(parts(cut))
    assert sweep_parts(cut.parent) == 0  # the copy refers to the old ones
    cut.with_name("copy.ckpt").unlink()
    shared = len(set(before) & set(parts(cut)) - {stranger})
    assert 0 < sweep_parts(cut.parent) < shared
    assert stranger.exists()
    assert torch.equal(load_tensors(cut)["w"], VALUE["w"] + 1)
    save_tensors(cut, VALUE)
    sweep_parts(cut.parent)
    assert parts(cut) == [stranger]


def test_nothing_is_swept_if_an_index_cannot_be_read(cut, monkeypatch):
    before = parts(cut)

    def failing(name):
        raise OSError(5, "Input/output error", str(name))

    monkeypatch.setattr(tensor_file, "_load_one", failing)
    assert sweep_parts(cut.parent) == 0
    assert parts(cut) == before


def test_stopped_between_parts_and_index(cut, monkeypatch):
    """What was there is still whole, and nothing of the rest stays."""
    before = parts(cut)

    class Killed(BaseException):
        pass

    def killed(path):
        raise Killed

    monkeypatch.setattr(tensor_file, "atomic_write", killed)
    with pytest.raises(Killed):
        save_tensors(cut, {**VALUE, "w": VALUE["w"] + 1}, most=4096)
    assert len(parts(cut)) > len(before)
    assert same(load_tensors(cut))
    sweep_parts(cut.parent)
    assert parts(cut) == before
    assert same(load_tensors(cut))


def test_replaced_while_it_is_read(cut, monkeypatch):
    """Another process saves and sweeps between the reading of the index and of the parts."""
    joined, left = tensor_file.JoinedParts, [1]

    def slow(name, entries):
        if left:
            left.pop()
            save_tensors(cut, {**VALUE, "w": VALUE["w"] + 1}, most=4096)
            assert sweep_parts(cut.parent)
        return joined(name, entries)

    monkeypatch.setattr(tensor_file, "JoinedParts", slow)
    assert torch.equal(load_tensors(cut)["w"], VALUE["w"] + 1)


def test_a_full_disk_names_the_part(cut, monkeypatch):
    from flowkernels.experiments.data import parts as module

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: .*00000-.*\.part"):
        save_tensors(cut, {**VALUE, "step": 4}, most=4096)

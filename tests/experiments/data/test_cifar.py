"""CIFAR10's binary version."""

import pytest
import torch

from flowkernels.experiments.data import DataError, load_dataset


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        records = torch.randint(256, (4, 3073), generator=generator).to(torch.uint8)
        records[:, 0] = number
        (inner / f"{name}.bin").write_bytes(records.numpy().tobytes())
    return tmp_path


def test_planes_and_labels(folder):
    dataset = load_dataset("cifar10", folder)
    assert dataset.shape == (3, 32, 32)
    assert dataset.train_labels.tolist() == [0] * 4 + [1] * 4
    assert dataset.test_labels.tolist() == [2] * 4
    content = (folder / "cifar-10-batches-bin" / "data_batch_2.bin").read_bytes()
    # Record 1's green value in row 5, column 7.
    assert int(dataset.train[5, 1, 5, 7]) == content[3073 + 1 + 1024 + 5 * 32 + 7]


@pytest.mark.parametrize("size", [0, 3072, 4 * 3073 - 1])
def test_wrong_sizes(folder, size):
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        DataError, match=rf"test_batch.bin: .* records of 3073 .* found {size} byte"
    ):
        load_dataset("cifar10", folder)


def test_labels_beyond_ten_classes(folder):
    path = folder / "cifar-10-batches-bin" / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[2 * 3073] = 10
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="expected labels from 0 to 9, found 10 in record 2"):
        load_dataset("cifar10", folder)


def test_missing_files(folder, monkeypatch):
    (folder / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"found 2 training batch file\(s\) and no test file"):
        load_dataset("cifar10", folder)
    monkeypatch.setenv("FLOWKERNELS_CACHE", str(folder / "cache"))
    with pytest.raises(DataError, match=r"cache/cifar10: expected data_batch_1\.bin"):
        load_dataset("cifar10")

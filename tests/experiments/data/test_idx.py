"""IDX files: contents, and the message for each kind of damage."""

import gzip
import struct

import pytest
import torch

from flowkernels.experiments.data import DataError, load_dataset
from flowkernels.experiments.data.idx import decode_idx, load_idx_folder, read_idx


def idx_bytes(array: torch.Tensor) -> bytes:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.numpy().tobytes()


@pytest.fixture
def images() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = {
        "train": torch.randint(256, (12, 6, 5), generator=generator),
        "t10k": torch.randint(256, (7, 6, 5), generator=generator),
    }
    return {name: array.to(torch.uint8) for name, array in draw.items()}


@pytest.fixture
def folder(tmp_path, images):
    for name, array in images.items():
        labels = torch.arange(len(array), dtype=torch.uint8)
        packed = gzip.compress(idx_bytes(array))
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(packed)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return tmp_path


def test_folder_is_read_back_exactly(folder, images):
    dataset = load_dataset("idx", folder)
    assert dataset.shape == (1, 6, 5)
    assert dataset.name == folder.name
    assert torch.equal(dataset.train[:, 0], images["train"])
    assert torch.equal(dataset.test[:, 0], images["t10k"])
    assert dataset.test_labels.tolist() == list(range(7))


def test_labels_are_optional_and_dotted_names_are_found(folder, images):
    for path in folder.glob("*labels*"):
        path.unlink()
    for path in folder.glob("*images*"):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    dataset = load_idx_folder(folder)
    assert dataset.train_labels is None
    assert torch.equal(dataset.train[:, 0], images["train"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "expected 226 bytes for sizes .7, 6, 5., found 225.*truncated"),
        (lambda b: b + b"x", "expected 226 bytes .* found 227.*longer"),
        (lambda b: b[:9], "expected an IDX header of 16 bytes .* found a file of 9"),
        (lambda b: b"", "found a file of 0 bytes"),
        (lambda b: b"\0\0\x0d\3" + b[4:], "expected magic number 0x00000803 .* 0x00000d03"),
        (lambda b: b"\0\0\x08\1" + b[4:], "expected magic number 0x00000803 .* 0x00000801"),
        (lambda b: b"<!DOCTYPE html>" + b, "expected magic number 0x00000803"),
    ],
)
def test_damaged_content_names_file_expected_and_found(tmp_path, images, damage, message):
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(damage(idx_bytes(images["t10k"])))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, ndim=3)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "expected 226 bytes for sizes .7, 6, 5., found 225.*truncated"),
        (lambda b: b + b"x", "expected 226 bytes .* found more.*longer"),
        (lambda b: b[:9], "expected an IDX header of 16 bytes .* found a file of 9"),
    ],
)
def test_damage_inside_gzip(tmp_path, images, damage, message):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(damage(idx_bytes(images["t10k"]))))
    with pytest.raises(DataError, match=message):
        read_idx(path, ndim=3)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_header_that_claims_too_much(tmp_path, suffix):
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    content = struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 28, 28) + bytes(100)
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match=r"at most 1073741824 elements.*\(2147483648, 28, 28\)"):
        read_idx(path, ndim=3)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:40], lambda b: b"not gzip"])
def test_damaged_gzip_is_named(folder, damage):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: expected a complete gzip"):
        load_idx_folder(folder)


def test_missing_files_are_named(folder):
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"expected t10k-images-idx3-ubyte .* found t10k-labels"):
        load_idx_folder(folder)
    with pytest.raises(DataError, match="nowhere: expected a folder"):
        load_idx_folder(folder / "nowhere")
    with pytest.raises(DataError, match="data set idx: expected a folder"):
        load_dataset("idx")


def test_labels_must_match_images(folder):
    labels = torch.zeros(11, dtype=torch.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(DataError, match="expected 12 labels, one per image, found 11"):
        load_idx_folder(folder)


def test_splits_must_have_one_size(folder):
    other = torch.zeros(3, 4, 4, dtype=torch.uint8)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(other)))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"images of one size, found .6, 5. and .4, 4."):
        load_idx_folder(folder)


def test_no_images_at_all():
    content = idx_bytes(torch.zeros(0, 4, 4, dtype=torch.uint8))
    assert decode_idx(content, ndim=3, source="empty").shape == (0, 4, 4)

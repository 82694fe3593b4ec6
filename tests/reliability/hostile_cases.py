"""Crafted settings, data and links; the docstring of each is what its error must say."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from flowkernels.experiments.data import fashion_mnist, load_dataset
from flowkernels.experiments.data.tables import load_table
from flowkernels.experiments.study import load_study
from flowkernels.experiments.training import Run

from .runs import SETTINGS, train

Action = Callable[[], object]
CASES: list[Callable[[Path], Action]] = []
_GIB = 1 << 30


def case(build: Callable[[Path], Action]) -> Callable[[Path], Action]:
    """Adds a case to the list."""
    CASES.append(build)
    return build


def sparse(path: Path, size: int) -> Path:
    """A file of zeros that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def zeros_packed(size: int) -> bytes:
    """Zeros, gzipped to a thousandth, without holding them."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        for _ in range(size >> 24):
            file.write(bytes(1 << 24))
    return buffer.getvalue()


# ---- settings ------------------------------------------------------------------------


def _settings(place: Path, **changes: object) -> Action:
    run = Run(place / "run")
    run.config_file.write_text(json.dumps({**SETTINGS.to_dict(), **changes}))
    return lambda: run.load_flow()


@case
def a_billion_hidden_channels(place: Path) -> Action:
    r"""config\.json: hidden: expected a whole number from 1 to 65536, got 1000000000"""
    return _settings(place, hidden=10**9)


@case
def fifty_levels(place: Path) -> Action:
    r"""config\.json: levels: expected a whole number from 1 to 16, got 50"""
    return _settings(place, levels=50)


@case
def as_large_as_settings_may_be(place: Path) -> Action:
    r"""ckpt: the weights do not fit .*config\.json: its levels, steps and hidden"""
    return _settings(place, hidden=65_536, steps=1000, levels=16)


@case
def numbers_of_many_digits(place: Path) -> Action:
    r"""config\.json: expected JSON"""
    Run(place / "run").config_file.write_text('{"hidden": ' + "9" * 100_000 + "}")
    return lambda: Run(place / "run").config()


@case
def nested_settings(place: Path) -> Action:
    r"""config\.json: expected JSON"""
    Run(place / "run").config_file.write_text("[" * 100_000)
    return lambda: Run(place / "run").config()


@case
def settings_of_ten_gigabytes(place: Path) -> Action:
    r"""config\.json: expected settings in at most"""
    sparse(Run(place / "run").config_file, 10 * _GIB)
    return lambda: Run(place / "run").config()


@case
def settings_without_an_end(place: Path) -> Action:
    r"""zeros: expected settings in at most"""
    (place / "zeros").symlink_to("/dev/zero")
    from flowkernels.experiments.training import RunConfig

    return lambda: RunConfig.load(place / "zeros")


# ---- studies -------------------------------------------------------------------------


def _study(place: Path, text: str) -> Action:
    (place / "study.yaml").write_text(text)
    return lambda: load_study(place / "study.yaml")


@case
def a_billion_laughs(place: Path) -> Action:
    r"""study\.yaml: expected at most 100000 values, its aliases repeat more"""
    names = "abcdefghi"
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip(names, names[1:])]  # noqa: B905, RUF007
    return _study(place, "study: images\n" + "\n".join(lines))


@case
def nested_yaml(place: Path) -> Action:
    r"""study\.yaml: line 1: expected at most 20 levels"""
    return _study(place, "[" * 200_000)


@case
def an_object_in_yaml(place: Path) -> Action:
    r"""study\.yaml: expected YAML"""
    return _study(place, f"a: !!python/object/apply:os.system ['touch {place}/executed']")


@case
def a_study_that_refers_to_itself(place: Path) -> Action:
    r"""study\.yaml: an alias refers to the value that it is part of"""
    return _study(place, "study: &a {b: *a}")


@case
def a_study_of_ten_gigabytes(place: Path) -> Action:
    r"""study\.yaml: expected settings in at most"""
    sparse(place / "study.yaml", 10 * _GIB)
    return lambda: load_study(place / "study.yaml")


# ---- data ----------------------------------------------------------------------------


def _idx(place: Path, content: bytes, suffix: str) -> Action:
    folder = place / "idx"
    folder.mkdir()
    for stem in fashion_mnist.SHA256:
        (folder / f"{stem}{suffix}").write_bytes(content)
    return lambda: load_dataset("idx", folder)


@case
def two_billion_images(place: Path) -> Action:
    r"""train-images-idx3-ubyte: expected at most 1073741824 elements"""
    return _idx(place, struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 28, 28), "")


@case
def a_billion_pixels_that_are_not_there(place: Path) -> Action:
    r"""train-images-idx3-ubyte: expected 1073741840 bytes .* found 16: the file is truncated"""
    return _idx(place, struct.pack(">4B3I", 0, 0, 8, 3, 1 << 10, 1 << 10, 1 << 10), "")


@case
def a_billion_pixels_that_are_not_in_the_gzip(place: Path) -> Action:
    r"""train-images-idx3-ubyte\.gz: expected 1073741840 bytes .* found 16: the file is truncated"""
    header = struct.pack(">4B3I", 0, 0, 8, 3, 1 << 10, 1 << 10, 1 << 10)
    return _idx(place, gzip.compress(header), ".gz")


@case
def a_gzip_bomb_of_zeros(place: Path) -> Action:
    r"""train-images-idx3-ubyte\.gz: expected magic number"""
    return _idx(place, zeros_packed(4 * _GIB), ".gz")


@case
def a_gzip_bomb_behind_a_small_header(place: Path) -> Action:
    r"""train-images-idx3-ubyte\.gz: expected 800 bytes .* found more.*longer"""
    header = gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 1, 28, 28))
    return _idx(place, header + zeros_packed(4 * _GIB), ".gz")


@case
def cifar_of_ten_gigabytes(place: Path) -> Action:
    r"""data_batch_1\.bin: expected at most \d+ bytes, found more"""
    for name in ("data_batch_1.bin", "test_batch.bin"):
        sparse(place / "cifar" / name, 10 * _GIB)
    return lambda: load_dataset("cifar10", place / "cifar")


@case
def cifar_without_an_end(place: Path) -> Action:
    r"""data_batch_1\.bin: expected a file"""
    (place / "cifar").mkdir()
    (place / "cifar" / "data_batch_1.bin").symlink_to("/dev/zero")
    sparse(place / "cifar" / "test_batch.bin", 3073)
    return lambda: load_dataset("cifar10", place / "cifar")


@case
def cifar_of_a_wrong_size(place: Path) -> Action:
    r"""data_batch_1\.bin: expected a whole number of records of 3073 bytes"""
    for name in ("data_batch_1.bin", "test_batch.bin"):
        sparse(place / "cifar" / name, 3072)
    return lambda: load_dataset("cifar10", place / "cifar")


def _table(place: Path, name: str, content: bytes) -> Action:
    (place / name).write_bytes(content)
    return lambda: load_table(place / name)


@case
def a_csv_of_one_line(place: Path) -> Action:
    r"""rows\.csv: line 1: expected at most 1048576 characters"""
    return _table(place, "rows.csv", b"1," * (1 << 26))


@case
def a_csv_of_ten_gigabytes_of_zeros(place: Path) -> Action:
    r"""rows\.csv: line 1: expected at most 1048576 characters"""
    sparse(place / "rows.csv", 10 * _GIB)
    return lambda: load_table(place / "rows.csv")


@case
def a_csv_of_other_columns(place: Path) -> Action:
    r"""rows\.csv: line 3: expected 2 columns, got 3"""
    return _table(place, "rows.csv", b"1,2\n3,4\n5,6,7\n")


@case
def a_table_without_an_end(place: Path) -> Action:
    r"""rows\.csv: expected a file"""
    (place / "rows.csv").symlink_to("/dev/zero")
    return lambda: load_table(place / "rows.csv")


def _npy(shape: str, dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


@case
def an_array_that_claims_a_terabyte(place: Path) -> Action:
    r"""rows\.npy: expected 1000000000\d+ bytes .* found \d+: the file is truncated"""
    return _table(place, "rows.npy", _npy("(125000000000, 1)"))


@case
def an_array_of_objects(place: Path) -> Action:
    r"""rows\.npy: expected a NumPy array"""
    return _table(place, "rows.npy", _npy("(2, 2)", "|O") + b"\x80\x04cposix\nsystem\n.")


@case
def an_array_with_code_for_a_shape(place: Path) -> Action:
    r"""rows\.npy: expected a NumPy array"""
    return _table(place, "rows.npy", _npy("__import__('os')"))


def _npz(place: Path, content: bytes) -> Action:
    with zipfile.ZipFile(place / "rows.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("data.npy", content)
    return lambda: load_table(place / "rows.npz")


@case
def an_archive_with_an_array_that_claims_a_terabyte(place: Path) -> Action:
    r"""rows\.npz: data\.npy: expected 1000000000\d+ bytes"""
    return _npz(place, _npy("(125000000000, 1)"))


@case
def an_archive_that_unpacks_to_much_more(place: Path) -> Action:
    r"""rows\.npz: data\.npy: expected \d+ bytes .* longer than its header says"""
    return _npz(place, _npy("(2, 2)") + bytes(1 << 29))


# ---- links and downloads ---------------------------------------------------------------


def _linked(place: Path, name: str) -> Action:
    target = place / "outside" / "precious"
    path = place / "run" / name
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    return lambda: train(place / "run")


@case
def metrics_that_are_a_link(place: Path) -> Action:
    r"""metrics\.csv: expected a part of the run's folder, found a link to .*precious"""
    return _linked(place, "metrics.csv")


@case
def a_lock_that_is_a_link(place: Path) -> Action:
    r"""\.training\.lock"""
    return _linked(place, ".training.lock")


@case
def checkpoints_that_are_a_link(place: Path) -> Action:
    r"""checkpoints: expected a part of the run's folder, found a link"""
    folder = Run(place / "run").checkpoints
    folder.rename(place / "moved")
    folder.symlink_to(place / "outside")
    return lambda: train(place / "run")


@case
def a_picture_that_is_a_link(place: Path) -> Action:
    """Harmless."""
    from flowkernels.experiments.cli.pictures import draw_samples

    run = Run(place / "run")
    (run.path / "samples.png").symlink_to(place / "outside" / "precious")
    return lambda: draw_samples(run, run.path / "samples.png", (1, 1))


@case
def a_model_named_like_a_path(place: Path) -> Action:
    """Harmless."""
    text = "study: images\nmodels: [{name: '../outside/x'}]"
    (place / "study.yaml").write_text(text)

    def stays() -> None:
        for task in load_study(place / "study.yaml").tasks():
            assert (place / task.name).resolve().parent == place.resolve()

    return stays


def _download(place: Path, stem: str, content: bytes) -> Action:
    web = place / "web"
    web.mkdir()
    for name, size in fashion_mnist.SIZES.items():
        (web / f"{name}.gz").write_bytes(gzip.compress(bytes(size), compresslevel=1))
    (web / f"{stem}.gz").write_bytes(content)

    def fetched() -> None:
        with (
            mock.patch.dict("os.environ", {"FLOWKERNELS_CACHE": str(place / "cache"), "PATH": ""}),
            mock.patch.object(fashion_mnist, "DEBIAN_FOLDER", place / "nothing"),
            mock.patch.object(fashion_mnist, "URLS", (web.as_uri() + "/",)),
        ):
            load_dataset("fashion-mnist")

    return fetched


@case
def a_download_with_a_wrong_checksum(place: Path) -> Action:
    r"""train-images.*: expected content with SHA-256 \w+, found \w+ \(800 bytes\)"""
    return _download(place, "train-images-idx3-ubyte", gzip.compress(bytes(800)))


@case
def a_download_that_is_a_bomb(place: Path) -> Action:
    r"""train-images.*: expected 47040016 bytes unpacked, found more"""
    return _download(place, "train-images-idx3-ubyte", zeros_packed(4 * _GIB))


@case
def a_download_without_an_end(place: Path) -> Action:
    r"""train-images.*: expected at most 47044112 bytes, got more"""
    action = _download(place, "train-images-idx3-ubyte", b"")
    sparse(place / "web" / "train-images-idx3-ubyte.gz", 10 * _GIB)
    return action

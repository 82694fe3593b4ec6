"""Sources of data: scikit-learn, the cache, the web, Debian's archive."""

import gzip
import os
import stat
import struct

import pytest
import torch

from flowkernels.experiments.data import DATASETS, DataError, load_dataset
from flowkernels.experiments.data import fashion_mnist as fm
from flowkernels.experiments.data.fetch import apt_extract, download, sha256
from flowkernels.experiments.data.files import atomic_write, cache_dir, sweep_unfinished


def contents() -> dict[str, bytes]:
    files = {}
    for stem in fm.SHA256:
        count, images = (6, "images" in stem)
        shape = (count, 4, 4) if images else (count,)
        body = bytes(range(count * 16 if images else count))
        files[stem] = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + body
    return files


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without Fashion-MNIST, and small stand-in files."""
    monkeypatch.setenv("FLOWKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fm, "DEBIAN_FOLDER", tmp_path / "usr" / "share")
    monkeypatch.setattr(fm, "URLS", ((tmp_path / "web").as_uri() + "/",))
    monkeypatch.setattr(fm, "SIZES", {stem: len(body) for stem, body in contents().items()})
    monkeypatch.setattr(fm, "SHA256", {stem: sha256(body) for stem, body in contents().items()})
    return tmp_path


def put(folder, **changes: bytes):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, body in {**contents(), **changes}.items():
        (folder / f"{stem}.gz").write_bytes(gzip.compress(body))


def no_tools(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def test_digits_span_the_levels():
    dataset = load_dataset("digits")
    assert dataset.shape == (1, 8, 8)
    assert len(dataset.train) + len(dataset.test) == 1797
    assert sorted(dataset.train.unique().tolist()) == [round(255 * v / 16) for v in range(17)]
    with pytest.raises(DataError, match="comes with scikit-learn"):
        load_dataset("digits", "somewhere")


def test_unknown_name_lists_the_known():
    with pytest.raises(DataError, match="'nope': expected one of " + ", ".join(DATASETS)):
        load_dataset("nope")


def test_debian_folder_comes_first(nowhere):
    put(nowhere / "usr" / "share")
    put(nowhere / "cache" / "fashion-mnist")
    assert fm.locate_fashion_mnist() == nowhere / "usr" / "share"


def test_fetched_once_with_checksum_then_cached(nowhere, monkeypatch):
    put(nowhere / "web")
    assert load_dataset("fashion-mnist").train.shape == (6, 1, 4, 4)
    assert len(list((nowhere / "cache" / "fashion-mnist").iterdir())) == 4
    monkeypatch.setattr(fm, "URLS", ("file:///gone/",))
    no_tools(monkeypatch, nowhere)
    assert load_dataset("fashion-mnist").train.shape == (6, 1, 4, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (b"\0\0\x08\1" + bytes(8), "train-labels.*: expected content with SHA-256 .* found"),
        (None, "expected a gzip file, got 14 other bytes"),
    ],
)
def test_wrong_content_is_not_kept(nowhere, monkeypatch, change, message):
    put(nowhere / "web", **({"train-labels-idx1-ubyte": change} if change else {}))
    if change is None:
        (nowhere / "web" / "train-labels-idx1-ubyte.gz").write_bytes(b"404 not found\n")
    no_tools(monkeypatch, nowhere)
    with pytest.raises(DataError, match=message):
        load_dataset("fashion-mnist")
    cached = nowhere / "cache" / "fashion-mnist"
    assert not (cached / "train-labels-idx1-ubyte.gz").exists()


def test_unreachable_data_set_lists_every_attempt(nowhere, monkeypatch):
    no_tools(monkeypatch, nowhere)
    with pytest.raises(DataError) as caught:
        load_dataset("fashion-mnist")
    message = str(caught.value)
    assert "could not be fetched" in message
    assert "no apt-get and no dpkg-deb" in message
    assert "--data digits" in message


def fake_tools(folder, files, fail=""):
    """Fake apt-get and dpkg-deb with only the functions that the tests need."""
    folder.mkdir(parents=True)
    scripts = {
        "apt-get": f"""#!/bin/sh
for last; do :; done
case "$*" in *"-c "*) ;; *) echo "no private configuration" >&2; exit 9;; esac
case "$*" in *" download "*) {fail or 'echo deb > "$last.deb"'};; esac
""",
        "dpkg-deb": f"""#!/bin/sh
mkdir -p "$3{fm.DEBIAN_FOLDER}" && cp {files}/* "$3{fm.DEBIAN_FOLDER}"
""",
    }
    for name, text in scripts.items():
        path = folder / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_fetches_from_debian_if_http_fails(nowhere, monkeypatch):
    put(nowhere / "package")
    fake_tools(nowhere / "bin", nowhere / "package")
    monkeypatch.setenv("PATH", f"{nowhere / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert load_dataset("fashion-mnist").test.shape == (6, 1, 4, 4)


def test_apt_failure_is_reported(nowhere, monkeypatch):
    fake_tools(nowhere / "bin", nowhere, fail='echo "E: Unable to locate package" >&2; exit 100')
    monkeypatch.setenv("PATH", f"{nowhere / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(DataError, match="status 100: E: Unable to locate package"):
        apt_extract("dataset-nope", nowhere)


def test_download_of_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.gz: could not be fetched"):
        download((tmp_path / "nothing.gz").as_uri(), most=9)


def test_a_download_is_bounded(tmp_path):
    (tmp_path / "much").write_bytes(bytes(100))
    assert download((tmp_path / "much").as_uri(), most=100) == bytes(100)
    with pytest.raises(DataError, match="much: expected at most 99 bytes, got more"):
        download((tmp_path / "much").as_uri(), most=99)


def test_the_second_address_serves_where_the_first_fails(nowhere, monkeypatch):
    put(nowhere / "web")
    monkeypatch.setattr(fm, "URLS", ("file:///gone/", *fm.URLS))
    assert load_dataset("fashion-mnist").train.shape == (6, 1, 4, 4)


def test_https_comes_first():
    assert fm.URLS[0].startswith("https://")
    assert fm.SIZES.keys() == fm.SHA256.keys()


def test_a_download_that_unpacks_to_more_is_not_unpacked(nowhere, monkeypatch):
    bomb = contents()["train-labels-idx1-ubyte"] + bytes(10_000_000)
    put(nowhere / "web", **{"train-labels-idx1-ubyte": bomb})
    packed = (nowhere / "web" / "train-labels-idx1-ubyte.gz").stat().st_size
    monkeypatch.setitem(fm.SIZES, "train-labels-idx1-ubyte", packed)
    no_tools(monkeypatch, nowhere)
    with pytest.raises(DataError, match=r"labels.*: expected \d+ bytes unpacked, found more"):
        load_dataset("fashion-mnist")


def test_an_error_without_a_name_gets_one(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*picture\.png'"):  # noqa: SIM117
        with atomic_write(tmp_path / "picture.png"):
            raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as file:
            file.write(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_sweep_removes_only_leftovers(tmp_path):
    kept = tmp_path / "kept"
    with atomic_write(kept) as file:
        file.write(b"x")
    (tmp_path / ".kept.abc.unfinished").write_bytes(b"y")
    assert sweep_unfinished(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [kept]


def test_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("FLOWKERNELS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "flowkernels"


def test_images_must_be_bytes():
    from flowkernels.experiments.data import ImageDataset

    with pytest.raises(ValueError, match=r"test: expected a uint8 tensor .* got torch.float32"):
        ImageDataset("x", train=torch.zeros(1, 1, 2, 2).byte(), test=torch.zeros(1, 1, 2, 2))

"""Fashion-MNIST: 60,000 + 10,000 grey 28x28 images of clothing, and how to obtain them.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms" (2017), arXiv 1708.07747.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.fetch import apt_extract, download, sha256
from flowkernels.experiments.data.files import atomic_write, cache_dir
from flowkernels.experiments.data.idx import find_idx, load_idx_folder, read_bytes

__all__ = ["SHA256", "load_fashion_mnist", "locate_fashion_mnist"]

log = logging.getLogger(__name__)

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# The authors' repository, by https; then the host that they name, which has only http. The
# checksums below hold for both.
URLS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)

# Checksums of the unpacked content: mirrors use different gzip headers.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

# Their sizes: no more is unpacked, whatever a download holds.
SIZES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


def load_fashion_mnist(folder: str | os.PathLike[str] | None = None) -> ImageDataset:
    """Load Fashion-MNIST; downloads it once if it is not on this machine.

    Args:
        folder: a folder with the four IDX files; None searches for them, see
            :func:`locate_fashion_mnist`.

    Raises:
        DataError: it cannot be found or downloaded, or a file is damaged.
    """
    where = Path(folder) if folder is not None else locate_fashion_mnist()
    return load_idx_folder(where, name="fashion-mnist")


def locate_fashion_mnist() -> Path:
    """The folder that holds Fashion-MNIST.

    Searches the folder of Debian's package ``dataset-fashion-mnist`` and the cache folder.
    Otherwise downloads it to the cache, by HTTP or, if that fails, by ``apt-get download``, and
    verifies the checksums above.

    Raises:
        DataError: it could not be found or downloaded; the message lists every attempt.
    """
    cached = cache_dir() / "fashion-mnist"
    for folder in (DEBIAN_FOLDER, cached):
        if all(find_idx(folder, stem) for stem in SHA256):
            return folder
    answers = []
    ways: list[Callable[[Path], None]] = [partial(_fetch_from_web, url) for url in URLS]
    ways.append(_fetch_from_debian)
    for way in ways:
        try:
            way(cached)
        except DataError as error:
            log.info("%s", error)
            answers.append(f"  - {error}")
        else:
            log.info("Fashion-MNIST is now in %s", cached)
            return cached
    raise DataError(
        f"Fashion-MNIST is neither in {DEBIAN_FOLDER} nor in {cached}, and could not be fetched:\n"
        + "\n".join(answers)
        + f"\nInstall Debian's package {DEBIAN_PACKAGE}, or put its four .gz files into {cached}, "
        "or train on digits, which need no download: flowkernels train runs/first --data digits"
    )


def _fetch_from_web(base: str, folder: Path) -> None:
    for stem, size in SIZES.items():
        url = f"{base}{stem}.gz"
        log.info("fetching %s", url)
        # Compression never makes a file much longer.
        packed = download(url, most=size + 4096)
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
                content = file.read(size + 1)
        except (gzip.BadGzipFile, EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{url}: expected a gzip file, got {len(packed)} other bytes"
            ) from error
        _store(folder, stem, content, source=url)


def _fetch_from_debian(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="flowkernels-deb-") as name:
        tree = apt_extract(DEBIAN_PACKAGE, Path(name))
        unpacked = tree / DEBIAN_FOLDER.relative_to("/")
        for stem in SHA256:
            path = find_idx(unpacked, stem)
            if path is None:
                raise DataError(f"package {DEBIAN_PACKAGE}: expected {stem} in it, found none")
            content = read_bytes(path, most=SIZES[stem])
            _store(folder, stem, content, source=f"{DEBIAN_PACKAGE}: {path.name}")


def _store(folder: Path, stem: str, content: bytes, *, source: str) -> None:
    if len(content) > SIZES[stem]:
        raise DataError(f"{source}: expected {SIZES[stem]} bytes unpacked, found more")
    if (found := sha256(content)) != SHA256[stem]:
        raise DataError(
            f"{source}: expected content with SHA-256 {SHA256[stem]}, found {found} "
            f"({len(content)} bytes)"
        )
    # mtime=0 makes the file reproducible. Level 6 takes a second, level 9 many.
    with atomic_write(folder / f"{stem}.gz") as file:
        file.write(gzip.compress(content, compresslevel=6, mtime=0))

"""Labelled points for `benchmarks.cluster_quality`: texts, clothing and handwritten digits.

Texts are the descriptions of Debian's packages; the labels are the archive's sections. apt fetches
them into a folder of its own, without root, and they are kept in the cache folder.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowkernels.experiments.data.fashion_mnist import load_fashion_mnist
from flowkernels.experiments.data.files import cache_dir

Array = NDArray[np.float32]
Labels = NDArray[np.int64]

SECTIONS = (
    "editors", "electronics", "fonts", "games", "graphics", "mail", "math", "science", "sound",
    "web",
)  # fmt: skip
MOST = 400  # descriptions of a section
DIMENSIONS = 100  # of the texts' embeddings


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The fields of Debian's control files; lines of one field are joined."""
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] == " ":
                fields[name] += "\n" + line[1:]
            else:
                name, _, fields[name] = line.partition(": ")
        yield fields


def _descriptions() -> list[tuple[str, str]]:
    """Pairs (section, description) of Debian's packages, each description once."""
    with tempfile.TemporaryDirectory(prefix="flowkernels-apt-") as folder:
        lists = Path(folder, "lists")
        (lists / "partial").mkdir(parents=True)
        options = {
            "Dir::State::lists": lists,
            "Acquire::Languages": "en",
            "Acquire::GzipIndexes": "false",
            "APT::Sandbox::User": "",
        }
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        subprocess.run(["apt-get", "-qq", *given, "update"], check=True)
        read = {
            end: "\n".join(path.read_text() for path in sorted(lists.glob(f"*{end}")))
            for end in ("_Packages", "_Translation-en")
        }
    texts = {
        f["Description-md5"]: f["Description-en"]
        for f in _stanzas(read["_Translation-en"])
        if "Description-en" in f
    }
    found: dict[str, str] = {}
    for fields in _stanzas(read["_Packages"]):
        text = texts.get(fields.get("Description-md5", ""))
        if text and fields.get("Section") in SECTIONS:
            found.setdefault(text, fields["Section"])
    return [(section, text) for text, section in found.items()]


def texts() -> tuple[Array, Labels]:
    """Embeddings (N, 100) by latent semantic analysis: words weighted by tf-idf, projected."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    cached = cache_dir() / "debian-descriptions.json"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_text(json.dumps(_descriptions()))
    pairs = json.loads(cached.read_text())
    rng = np.random.default_rng(0)
    chosen: list[tuple[str, str]] = []
    for section in SECTIONS:
        mine = [pair for pair in pairs if pair[0] == section]
        chosen += [mine[i] for i in sorted(rng.permutation(len(mine))[:MOST])]
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=3)
    counts = words.fit_transform([text for _, text in chosen])
    points = TruncatedSVD(DIMENSIONS, random_state=0).fit_transform(counts)
    labels = np.array([SECTIONS.index(section) for section, _ in chosen])
    there = np.linalg.norm(points, axis=1) > 0  # no known word: no direction
    return points[there].astype(np.float32), labels[there]


def clothing() -> tuple[Array, Labels]:
    """Fashion-MNIST's 10,000 test images: 50 principal components (N, 50)."""
    from sklearn.decomposition import PCA

    data = load_fashion_mnist()
    assert data.test_labels is not None
    pixels = data.test.flatten(1).numpy().astype(np.float64) / 255
    points = PCA(50, random_state=0).fit_transform(pixels)
    return points.astype(np.float32), data.test_labels.numpy().astype(np.int64)


def digits() -> tuple[Array, Labels]:
    """scikit-learn's handwritten digits: the pixels (1797, 64)."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found.data.astype(np.float32), found.target.astype(np.int64)


DATA: dict[str, Callable[[], tuple[Array, Labels]]] = {
    "package descriptions": texts,
    "Fashion-MNIST": clothing,
    "digits": digits,
}

"""The benchmarks of clustering, at small sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cluster
from benchmarks.cluster_data import _stanzas
from tests import forked


def test_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "CASES", {"small": (500, 8, 3)})
    out = tmp_path / "cluster.json"
    monkeypatch.setattr(
        "sys.argv",
        ["cluster", "--rounds", "3", "--threads", "1", "--clock", "cpu", "--out", str(out)],
    )
    cluster.main()
    found = json.loads(out.read_text())["results"]["small"]
    assert set(found["milliseconds"]) == {"flowkernels", cluster.PRODUCTS}
    assert found["pass / products"] > 0


MEMORY = """
import sys
sys.path.insert(0, {root!r})
sys.argv[1:] = {arguments!r}
from benchmarks import cluster_memory
cluster_memory.main()
"""


def test_memory(tmp_path: Path) -> None:
    """20,000 points and 2000 components: far below the (N, K) matrix, 160 MB."""
    out = tmp_path / "memory.json"
    size = ["--points", "20000", "--dim", "16", "--components", "2000", "--out", str(out)]
    root = str(Path(__file__).parents[2])
    run = forked.run(MEMORY.format(root=root, arguments=size), cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads(out.read_text())["beyond_the_points_mib"] < 120


def test_quality() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `cluster`)")
    from benchmarks import cluster_quality

    labels = np.array([0, 0, 0, 1, 1, 2])
    assert cluster_quality.purity(labels, np.array([1, 1, 0, 0, 0, 0])) == pytest.approx(4 / 6)
    x = np.eye(6, 4, dtype=np.float32) + 0.1
    for name, method in cluster_quality.METHODS.items():
        found = cluster_quality.scores(x, labels, method, seeds=2)
        assert 0 <= found["purity"] <= 1 and len(found["nmi_of_seeds"]) == 2, name


def test_stanzas_of_control_files() -> None:
    text = "Package: a\nDescription-en: first\n second\n .\n third\n\nPackage: b\nSize: 3\n"
    first, second = _stanzas(text)
    assert first == {"Package": "a", "Description-en": "first\nsecond\n.\nthird"}
    assert second == {"Package": "b", "Size": "3"}

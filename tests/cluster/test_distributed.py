"""Two processes, each with a part of the points, fit as one process with all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed

from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture

from .problems import mixture_data

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo",
)

PROCESS = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
import torch.distributed as dist
from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
data = np.load(f"{folder}/data.npz")
# Unequal parts. Different seeds: the first process decides.
mine = slice(0, 500) if rank == 0 else slice(500, None)
x, w = data["x"][mine], data["w"][mine]
found = {}
mixture = VonMisesFisherMixture(4, random_state=rank, distributed=True).fit(x, sample_weight=w)
found["locs"], found["bounds"] = mixture.locs_, mixture.lower_bounds_
mixture.partial_fit(x)
found["stream"] = mixture.locs_
km = SphericalKMeans(4, random_state=rank, distributed=True, n_init=2).fit(x, sample_weight=w)
found["centres"], found["inertia"], found["labels"] = km.cluster_centers_, km.inertia_, km.labels_
# An empty cluster, whose new place lies in the second process.
km = SphericalKMeans(2, init=np.array([[1.0] * 6, [-1.0] * 6]), distributed=True, max_iter=1, tol=0)
km.fit(data["lopsided"][mine])
found["moved"] = km.cluster_centers_
# More points than the start looks at.
many = data["many"][:25000] if rank == 0 else data["many"][25000:]
km = SphericalKMeans(3, random_state=rank, distributed=True).fit_batches([many[:9000], many[9000:]])
found["many"], found["many_inertia"] = km.cluster_centers_, km.inertia_
np.savez(f"{folder}/{rank}.npz", **found)
dist.destroy_process_group()
"""


def test_two_processes_fit_as_one(tmp_path: Path) -> None:
    x, _, _ = mixture_data(800, 6, 4, 30.0, seed=0)
    w = np.random.default_rng(0).exponential(size=len(x))
    lopsided = np.abs(x)
    lopsided[-1] = [1, -0.5, 0, 0, 0, 0]
    many, _, _ = mixture_data(40000, 6, 3, 60.0, seed=1)
    np.savez(tmp_path / "data.npz", x=x, w=w, lopsided=lopsided, many=many)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in (0, 1))
    for name in first.files:
        if name != "labels":
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)

    mixture = VonMisesFisherMixture(4, random_state=0).fit(x, sample_weight=w)
    np.testing.assert_allclose(first["bounds"], mixture.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(first["locs"], mixture.locs_, rtol=0, atol=1e-10)
    mixture.partial_fit(x)
    np.testing.assert_allclose(first["stream"], mixture.locs_, rtol=0, atol=1e-10)
    km = SphericalKMeans(4, random_state=0, n_init=2).fit(x, sample_weight=w)
    np.testing.assert_allclose(first["centres"], km.cluster_centers_, rtol=0, atol=1e-10)
    labels = np.concatenate((first["labels"], second["labels"]))
    np.testing.assert_array_equal(labels, km.labels_)
    start: dict[str, Any] = {"init": np.array([[1.0] * 6, [-1.0] * 6]), "max_iter": 1, "tol": 0}
    km = SphericalKMeans(2, **start).fit(lopsided)
    np.testing.assert_allclose(first["moved"], km.cluster_centers_, rtol=0, atol=1e-10)
    km = SphericalKMeans(3, random_state=0).fit(many)  # from other points
    assert float(first["many_inertia"]) == pytest.approx(km.inertia_, rel=1e-3)

"""python -m benchmarks.cluster_recovery --peer PYTHON: are known mixtures found?

Draws points of von Mises-Fisher mixtures with equal weights and one concentration, and fits them by
`VonMisesFisherMixture`, by scikit-learn's KMeans of the same points, and by spherecluster's mixture
where PYTHON has it (`benchmarks/cluster_peer.py`), one start each. Prints the adjusted Rand index
with the true components, beside that of the assignment by the true parameters, and writes
cluster_recovery.json. Needs the extra `cluster`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from flowkernels import ops
from flowkernels.cluster import VonMisesFisherMixture

from . import files, machine

N = 2000
# p, K, kappa: from overlapping components to high dimensions.
CASES = ((3, 4, 15.0), (10, 8, 30.0), (100, 8, 60.0), (1000, 5, 300.0), (10_000, 5, 1500.0))


def mixture(p: int, k: int, kappa: float) -> tuple[Any, Any, Any]:
    """Points (N, p) in float64, their components, and the assignment by the true parameters."""
    generator = torch.Generator().manual_seed(0)
    locs = torch.randn(k, p, generator=generator, dtype=torch.float64)
    locs = torch.nn.functional.normalize(locs, dim=1)
    labels = torch.randint(k, (N,), generator=generator)
    x = ops.vmf_sample(locs[labels], torch.full((N,), kappa).double(), generator=generator)
    return x.numpy(), labels.numpy(), (x @ locs.T).argmax(1).numpy()


def of_peer(python: str, x: Any, k: int) -> Any:
    """spherecluster's labels, or the last line of its error."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "points.npy")
        np.save(file, x)
        script = Path(__file__).with_name("cluster_peer.py")
        command = [python, str(script), str(file), str(k), "fit"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr.strip().splitlines()[-1]
    return np.array(json.loads(run.stdout)["labels"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", help="a Python that has spherecluster")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for p, k, kappa in CASES:
        x, labels, best = mixture(p, k, kappa)
        found = {
            "true parameters": best,
            "flowkernels": VonMisesFisherMixture(k, random_state=0).fit_predict(x),
            "KMeans": KMeans(k, random_state=0).fit_predict(x),
        }
        if given.peer:
            found["spherecluster"] = of_peer(given.peer, x, k)
        row = results[f"p = {p}, K = {k}, kappa = {kappa:g}"] = {
            name: each if isinstance(each, str) else round(adjusted_rand_score(labels, each), 4)
            for name, each in found.items()
        }
        print(f"p = {p}, K = {k}, kappa = {kappa:g}: {row}", flush=True)
    facts = {"machine": machine.facts(), "points": N, "adjusted Rand index": results}
    files.write_text(given.out / "cluster_recovery.json", json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""python -m benchmarks.cluster_quality: clusters of real data beside the true classes.

Clusters texts, clothing and digits (`benchmarks.cluster_data`) with our estimators and with those
of scikit-learn, at the true number of classes, each from several seeds. Prints purity, normalised
mutual information and adjusted Rand index, their means over the seeds, and writes them to
cluster_quality.json with a picture. Needs the extras `cluster` and `train`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture

from . import files, machine
from .cluster_data import DATA, Array, Labels

Method = Callable[[Array, int, int], Any]  # points, clusters, seed -> labels

METHODS: dict[str, Method] = {
    "KMeans": lambda x, k, seed: KMeans(k, random_state=seed).fit_predict(x),
    "KMeans, unit rows": lambda x, k, seed: KMeans(k, random_state=seed).fit_predict(normalize(x)),
    "GaussianMixture, full": lambda x, k, seed: gaussian(x, k, seed, "full"),
    "GaussianMixture, diagonal": lambda x, k, seed: gaussian(x, k, seed, "diag"),
    "SphericalKMeans": lambda x, k, seed: SphericalKMeans(k, random_state=seed).fit_predict(x),
    "VonMisesFisherMixture": lambda x, k, seed: VonMisesFisherMixture(
        k, random_state=seed
    ).fit_predict(x),
    "VonMisesFisherMixture, tied": lambda x, k, seed: VonMisesFisherMixture(
        k, concentration="tied", random_state=seed
    ).fit_predict(x),
}


def gaussian(x: Array, k: int, seed: int, covariance: str) -> Any:
    """A mixture of normal distributions of unit rows, regularised for constant pixels."""
    mixture = GaussianMixture(k, covariance_type=covariance, reg_covar=1e-4, random_state=seed)
    return mixture.fit_predict(normalize(x).astype(np.float64))


def purity(labels: Labels, found: Any) -> float:
    """The part of the points whose class is the most frequent of their cluster."""
    table = np.zeros((found.max() + 1, labels.max() + 1))
    np.add.at(table, (found, labels), 1)
    return float(table.max(1).sum() / len(labels))


def scores(x: Array, labels: Labels, method: Method, seeds: int) -> dict[str, Any]:
    """Means over the seeds, and the NMI of each."""
    k = int(labels.max()) + 1
    runs = []
    for seed in range(seeds):
        found = np.asarray(method(x, k, seed))
        nmi = normalized_mutual_info_score(labels, found)
        runs.append((purity(labels, found), nmi, adjusted_rand_score(labels, found)))
    columns = list(zip(*runs, strict=True))
    return {
        "purity": statistics.mean(columns[0]),
        "nmi": statistics.mean(columns[1]),
        "ari": statistics.mean(columns[2]),
        "nmi_of_seeds": [float(each) for each in columns[1]],
    }


def picture(results: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """NMI of every seed and method, a panel for each data set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(results), figsize=(10, 2.8), sharey=True, layout="constrained"
    )
    for axis, (name, methods) in zip(axes, results.items(), strict=True):
        for row, (method, found) in enumerate(methods.items()):
            ours = method.startswith(("Spherical", "VonMises"))
            colour = "tab:blue" if ours else "tab:gray"
            axis.plot(
                found["nmi_of_seeds"],
                [row] * len(found["nmi_of_seeds"]),
                ".",
                color=colour,
                alpha=0.5,
            )
            axis.plot(found["nmi"], row, "|", markersize=14, color=colour)
        axis.set(
            title=name,
            xlabel="NMI with the classes",
            yticks=range(len(methods)),
            yticklabels=methods,
        )
        axis.invert_yaxis() if axis is axes[0] else None
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/cluster.png"))
    given = parser.parse_args()
    results: dict[str, dict[str, dict[str, Any]]] = {}
    sizes = {}
    for name in given.data:
        x, labels = DATA[name]()
        sizes[name] = [*x.shape, int(labels.max()) + 1]
        results[name] = {}
        print(f"{name}: {len(x)} points of R^{x.shape[1]}, {sizes[name][2]} classes", flush=True)
        for method, call in METHODS.items():
            found = results[name][method] = scores(x, labels, call, given.seeds)
            print(
                f"  {method:29} purity {found['purity']:.3f}  NMI {found['nmi']:.3f}  "
                f"ARI {found['ari']:.3f}",
                flush=True,
            )
    facts = {"machine": machine.facts(), "seeds": given.seeds, "sizes": sizes, "results": results}
    files.write_text(given.out / "cluster_quality.json", json.dumps(facts, indent=1) + "\n")
    files.write(given.picture, lambda path: picture(results, path))


if __name__ == "__main__":
    main()

"""EM passes of spherecluster, run by a Python that has it.

    PYTHON cluster_peer.py POINTS.npy K PASSES CLOCK
    PYTHON cluster_peer.py POINTS.npy K fit

Prints the seconds of each pass, an E step and an M step from the components of the pass before; or
the labels of a fit from one start.
spherecluster 0.1.7 runs as it is with Python 3.7, scikit-learn 0.20 and NumPy 1.17. Its successor
spherecluster2 0.2.1 has the same two functions.
"""

import json
import sys
import time
import warnings

import numpy as np
import scipy.sparse

warnings.simplefilter("ignore")
np.issparse = scipy.sparse.issparse  # spherecluster2 calls it, and NumPy never had it

from spherecluster import VonMisesFisherMixture  # noqa: E402
from spherecluster.von_mises_fisher_mixture import _expectation, _maximization  # noqa: E402


def main():
    x = np.load(sys.argv[1])
    k = int(sys.argv[2])
    if sys.argv[3] == "fit":
        fit = VonMisesFisherMixture(n_clusters=k, n_init=1, random_state=0).fit(x)
        print(json.dumps({"labels": [int(label) for label in fit.labels_]}))
        return
    passes = int(sys.argv[3])
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[sys.argv[4]]
    centers = x[:k].copy()
    weights, concentrations = np.full(k, 1 / k), np.full(k, float(x.shape[1]))
    seconds = []
    for _ in range(passes):
        start = clock()
        posterior = _expectation(x, centers, weights, concentrations, posterior_type="soft")
        centers, weights, concentrations = _maximization(x, posterior)
        seconds.append(clock() - start)
    finite = bool(np.isfinite(concentrations).all() and np.isfinite(centers).all())
    print(json.dumps({"seconds": seconds, "finite": finite}))


if __name__ == "__main__":
    main()

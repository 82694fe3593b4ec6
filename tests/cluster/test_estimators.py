"""scikit-learn's own checks, and its pipelines and searches; without it, the same methods."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture
from tests import forked

from .problems import mixture_data

MISSING = "scikit-learn is not installed (extra `cluster`)"

# What scikit-learn asks and directions cannot give; docs/cluster.md repeats it.
ZEROS = "it casts points to integers, which makes rows of zeros; they have no direction"
RANDOM = (
    "a start draws other points from repeated than from weighted ones; from given directions they "
    "agree, see test_weights_are_repeated_points"
)
EXCEPTIONS = {
    "check_estimators_dtypes": ZEROS,
    "check_sample_weight_equivalence_on_dense_data": RANDOM,
}


@pytest.mark.parametrize(
    "estimator",
    [SphericalKMeans(3, random_state=0), VonMisesFisherMixture(3, random_state=0)],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.filterwarnings("default")
def test_checks_of_scikit_learn(estimator: Any) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks", reason=MISSING)
    results = checks.check_estimator(
        estimator, on_fail=None, on_skip=None, expected_failed_checks=EXCEPTIONS
    )
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 40
    # Every exception is one.
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(EXCEPTIONS)


def test_pipelines_searches_and_frames() -> None:
    pytest.importorskip("sklearn", reason=MISSING)
    from sklearn.base import clone
    from sklearn.decomposition import PCA
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    x, _, _ = mixture_data(300, 6, 3, 40.0, seed=0)
    pipeline = make_pipeline(PCA(4), SphericalKMeans(3, random_state=0))
    assert pipeline.fit_predict(x).shape == (300,)
    assert pipeline.transform(x).shape == (300, 3)
    assert list(pipeline.get_feature_names_out()) == [f"sphericalkmeans{k}" for k in range(3)]
    search = GridSearchCV(VonMisesFisherMixture(random_state=0), {"n_components": [1, 3]}, cv=3)
    assert search.fit(x).best_params_ == {"n_components": 3}
    fit = VonMisesFisherMixture(3, concentration="tied", random_state=0).fit(x)
    assert clone(fit).get_params() == fit.get_params()
    assert not hasattr(clone(fit), "locs_")


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("kind", [SphericalKMeans, VonMisesFisherMixture])
def test_fits_are_pickled(kind: Any, make: Any) -> None:
    x, _, _ = mixture_data(100, 3, 2, 40.0, seed=0)
    fit = kind(2, random_state=0).fit(make(x))
    same = pickle.loads(pickle.dumps(fit))
    assert (same.predict(x) == fit.predict(x)).all() and same.score(x) == fit.score(x)
    same.partial_fit(make(x))


WITHOUT = """
import sys
sys.modules["sklearn"] = None
sys.modules["tqdm"] = sys.modules["tqdm.auto"] = None
import numpy as np
import flowkernels
from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture

x = np.random.default_rng(0).normal(size=(100, 3))
km = SphericalKMeans(2, random_state=0, verbose=True)
assert repr(km) == "SphericalKMeans(n_clusters=2, random_state=0, verbose=True)", repr(km)
assert km.get_params()["n_clusters"] == 2
assert (km.fit_predict(x) == km.labels_).all()
assert (km.fit_transform(x) == km.transform(x)).all()
mixture = VonMisesFisherMixture().set_params(n_components=3, random_state=0)
for wrong in (lambda: mixture.predict(x), lambda: mixture.set_params(k=3),
              lambda: km.predict(x[:, :2])):
    try:
        wrong()
    except ValueError as error:
        print(error)
    else:
        raise AssertionError
mixture.fit(x).partial_fit(x)
assert mixture.predict_proba(x).shape == (100, 3)
"""

IMPORTS = """
import sys
import flowkernels
import flowkernels.ops, flowkernels.distributions, flowkernels.flows
assert not any(name.split(".")[0] == "sklearn" for name in sys.modules)
assert "cluster" in dir(flowkernels)
flowkernels.cluster.SphericalKMeans
"""


def test_without_scikit_learn(tmp_path: Path) -> None:
    run = forked.run(WITHOUT, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "VonMisesFisherMixture: this instance is not fitted yet; call fit first" in run.stdout
    assert "a parameter must be one of assignment, concentration" in run.stdout
    assert "X has 2 features, but SphericalKMeans is expecting 3 features" in run.stdout
    assert "SphericalKMeans: pass 1, objective -0." in run.stdout


def test_the_package_does_not_import_scikit_learn(tmp_path: Path) -> None:
    run = forked.run(IMPORTS, cwd=tmp_path)
    assert run.returncode == 0, run.stderr

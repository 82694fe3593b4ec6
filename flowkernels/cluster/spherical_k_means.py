"""Spherical k-means: clusters of directions by the cosine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowkernels import arguments

from ._base import SphericalEstimator
from ._estimator import (
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    warn_of,
)
from ._fitting import Fit
from ._group import Group
from ._k_means import KMeans
from ._mixture import weighted_sum
from ._rows import Kind
from ._sources import Points, Source
from ._statistics import assignments

__all__ = ["SphericalKMeans"]


class SphericalKMeans(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, SphericalEstimator[Tensor]
):
    r"""Spherical k-means: K unit vectors that minimise the sum of cosine distances.

    .. math:: \sum_n s_n \min_k (1 - c_k \cdot x_n), \qquad |x_n| = |c_k| = 1

    The fit alternates between assigning points to their nearest centre and moving centres to the
    direction of their points' sum. Points are NumPy arrays or tensors (N, p) on any device; results
    are of the same kind. The products are those of the points' dtype, the sums are float64.

    Defined answers: a centre without points moves to the point farthest from its own centre. Where
    fewer points differ than there are clusters, centres without points remain and a
    ConvergenceWarning says so. More clusters than points are an error.

    Args:
        n_clusters: K.
        init: "k-means++" (on a sample of 4096 to 32768 points, by p, and at least 32 K), "random",
            or centres (K, p).
        n_init: number of starts; the best is kept.
        max_iter: the largest number of updates of a start.
        tol: the fit ends where the mean distance falls by less than this part of itself.
        normalize: scale rows to unit length; otherwise rows of another length are an error.
        learning_decay: of the steps of `partial_fit`, in (0.5, 1] for convergence.
        learning_offset: makes the first steps smaller, >= 1.
        warm_start: `fit` begins from the centres of the last fit.
        distributed: the processes of torch.distributed's default group fit together, each with
            its own points.
        verbose: show the passes, by a bar where tqdm is installed.
        random_state: None, a seed, a numpy.random.RandomState or a numpy.random.Generator.

    Attributes:
        cluster_centers_: unit vectors (K, p).
        labels_: (N,), after `fit`.
        inertia_: the sum of weighted distances.
        n_iter_: number of updates of the best start.
        converged_: whether it ended before max_iter.
        n_features_in_, n_steps_: p, and the number of steps of the stream.

    Source: Dhillon & Modha, Concept decompositions for large sparse text data using clustering,
    Machine Learning 42 (2001).

    Example:
        >>> import numpy as np
        >>> from flowkernels.cluster import SphericalKMeans
        >>> X = np.array([[1.0, 0.1], [2.0, -0.1], [0.1, 1.0], [0.0, 3.0]])
        >>> km = SphericalKMeans(2, random_state=0).fit(X)
        >>> bool(km.labels_[0] == km.labels_[1] != km.labels_[2] == km.labels_[3])
        True
        >>> km.transform(X).shape
        (4, 2)
    """

    _INITS = ("k-means++", "random")
    _OBJECTIVE = "objective"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        normalize: bool = True,
        learning_decay: float = 0.7,
        learning_offset: float = 2.0,
        warm_start: bool = False,
        distributed: bool = False,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.normalize = normalize
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.warm_start = warm_start
        self.distributed = distributed
        self.verbose = verbose
        self.random_state = random_state

    # ---- results ----------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """The nearest centre of each point, (N,) int64."""

        def labels(x: Tensor) -> Tensor:
            return assignments(x, centres.to(x), None, None)[1]

        centres = self._state(self._read(X)[0])
        kind, out = self._collect(X, labels, None, torch.int64)
        return kind.give(out)

    def transform(self, X: Any) -> Any:
        """Cosine distances 1 - c_k.x_n of points to centres, (N, K), in [0, 2]."""

        def distances(x: Tensor) -> Tensor:
            return (1 - x @ centres.to(x).T).clamp_(0, 2)

        centres = self._state(self._read(X)[0])
        kind, out = self._collect(X, distances, self.n_clusters)
        return kind.give(out)

    def score(self, X: Any, y: None = None, sample_weight: Any = None) -> float:
        """Minus the sum of weighted distances of points to their nearest centres."""
        centres = self._state(self._read(X)[0])
        total = 0.0
        for x, weights in self._points(X, sample_weight, reset=False).blocks():
            best, _ = assignments(x, centres.to(x), None, None)
            total += float(weighted_sum(best, weights))
        return total

    # ---- the fit ----------------------------------------------------------------------

    def _size(self) -> int:
        return arguments.integer(type(self).__name__, "n_clusters", self.n_clusters)

    def _model(self, source: Source) -> KMeans:
        owner = type(self).__name__
        self._size()
        tol = arguments.number(owner, "tol", self.tol)
        if not tol >= 0:
            raise ValueError(f"{owner}: tol must be >= 0, got {tol}")
        return KMeans(tol)

    def _begin(self, model: Any, locs: Tensor, source: Source, group: Group) -> Tensor:
        return locs

    @property
    def _n_features_out(self) -> int:
        """The columns of `transform`, for scikit-learn's `get_feature_names_out`."""
        return int(self.cluster_centers_.shape[0])

    def _is_fitted(self) -> bool:
        return hasattr(self, "cluster_centers_")

    def _state(self, kind: Kind) -> Tensor:
        return torch.as_tensor(self.cluster_centers_).to(kind.device, torch.float64)

    def _store(self, state: Tensor, kind: Kind) -> None:
        self.cluster_centers_ = kind.give(state)

    def _finish(self, result: Fit[Tensor], source: Source) -> None:
        super()._finish(result, source)
        self.n_iter_, self.converged_ = result.updates, result.converged
        self.inertia_ = -result.found.objective * result.found.total
        if isinstance(source, Points):
            locs = result.state.to(source.kind.dtype)
            labels = [assignments(x, locs, None, None)[1] for x, _ in source.blocks()]
            self.labels_ = source.kind.give(torch.cat(labels))
        empty = int((result.found.counts == 0).sum())
        if empty:
            warn_of(
                type(self).__name__,
                f"{empty} of {self.n_clusters} clusters have no points: fewer points differ than "
                "there are clusters, or max_iter is too small",
            )

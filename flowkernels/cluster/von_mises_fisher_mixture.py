"""Mixtures of von Mises-Fisher distributions: clusters of directions with their spread."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowkernels import arguments, ops

from ._base import SphericalEstimator
from ._estimator import DensityMixin
from ._fitting import Fit
from ._group import Group
from ._mixture import Components, Mixture, weighted_sum
from ._rows import Kind
from ._sources import Source
from ._statistics import assignments

__all__ = ["VonMisesFisherMixture"]


class VonMisesFisherMixture(DensityMixin, SphericalEstimator[Components]):
    r"""Mixture of von Mises-Fisher distributions on the sphere S^(p-1), fitted by EM.

    .. math:: p(x) = \sum_k w_k\, C_p(\kappa_k) \exp(\kappa_k\, \mu_k \cdot x)

    Likelihoods are in nats with respect to the surface measure of the unit sphere. Points are NumPy
    arrays or tensors (N, p) on any device; results are of the same kind. The products are those of
    the points' dtype, the sums are float64. A fit never makes an (N, K) matrix.

    Defined answers: a component without points keeps its direction and concentration, at weight 0.
    A component of identical points has the largest concentration, that of A_p(kappa) = 1 - 16 eps,
    about (p - 1) / (32 eps) with eps of the points' dtype, unless `concentration_prior` is above 0.
    More components than points are an error.

    Args:
        n_components: K.
        init: "k-means" (k-means++ and 10 passes of spherical k-means, on a sample of 4096 to 32768
            points, by p, and at least 32 K), "k-means++", "random", or directions (K, p).
        n_init: number of starts; the best is kept.
        max_iter: the largest number of updates of a start.
        tol: the fit ends where the log-likelihood rises by less, in nats per unit of weight.
        assignment: "soft" is EM; "hard" gives each point to its most probable component and
            maximises the likelihood of points and components together.
        concentration: "free", "tied" (one for all components), or a number that is not fitted.
        concentration_prior: a >= 0 points without direction that are added to each component's
            estimate, A_p(kappa) = |sum| / (count + a); the objective gains
            a [log C_p(kappa) - log C_p(0)]. 0 is maximum likelihood, which overestimates kappa
            where a component has few points for its dimension.
        normalize: scale rows to unit length; otherwise rows of another length are an error.
        learning_decay: of the steps of `partial_fit`, in (0.5, 1] for convergence.
        learning_offset: makes the first steps smaller, >= 1.
        warm_start: `fit` begins from the components of the last fit.
        distributed: the processes of torch.distributed's default group fit together, each with
            its own points.
        verbose: show the passes, by a bar where tqdm is installed.
        random_state: None, a seed, a numpy.random.RandomState or a numpy.random.Generator.

    Attributes:
        weights_: (K,). locs_: unit vectors (K, p). concentrations_: (K,).
        lower_bound_: the objective per unit of weight, which is the mean log-likelihood for soft
            assignments without prior. lower_bounds_: its values in the best start's passes.
        n_iter_: number of updates of the best start.
        converged_: whether it ended before max_iter.
        n_features_in_, n_steps_: p, and the number of steps of the stream.

    Source: Banerjee, Dhillon, Ghosh & Sra, Clustering on the unit hypersphere using von
    Mises-Fisher distributions, JMLR 6 (2005); kappa by the exact inverse of A_p.

    Example:
        >>> import numpy as np
        >>> from flowkernels.cluster import VonMisesFisherMixture
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3)) + np.where(np.arange(400)[:, None] < 200, 5, -5)
        >>> mixture = VonMisesFisherMixture(2, random_state=0).fit(X)
        >>> mixture.weights_
        array([0.5, 0.5])
        >>> mixture.predict_proba(X).shape, bool(mixture.bic(X) < 0)
        ((400, 2), True)
    """

    _INITS = ("k-means", "k-means++", "random")
    _OBJECTIVE = "log-likelihood"

    def __init__(
        self,
        n_components: int = 1,
        *,
        init: Any = "k-means",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        assignment: str = "soft",
        concentration: Any = "free",
        concentration_prior: float = 0.0,
        normalize: bool = True,
        learning_decay: float = 0.7,
        learning_offset: float = 2.0,
        warm_start: bool = False,
        distributed: bool = False,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.assignment = assignment
        self.concentration = concentration
        self.concentration_prior = concentration_prior
        self.normalize = normalize
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.warm_start = warm_start
        self.distributed = distributed
        self.verbose = verbose
        self.random_state = random_state

    # ---- results ----------------------------------------------------------------------

    def fit_predict(self, X: Any, y: None = None, sample_weight: Any = None) -> Any:
        """Fits, and returns the most probable component of each point."""
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def predict(self, X: Any) -> Any:
        """The most probable component of each point, (N,) int64."""

        def labels(x: Tensor) -> Tensor:
            return assignments(x, *state.to(x.device, x.dtype))[1]

        state = self._state_for(X)
        kind, out = self._collect(X, labels, None, torch.int64)
        return kind.give(out)

    def predict_proba(self, X: Any) -> Any:
        """The probability of each component given each point, (N, K)."""

        def probabilities(x: Tensor) -> Tensor:
            return ops.vmf_mixture_log_prob(x, *state.to(x.device, x.dtype))[1].exp_()

        state = self._state_for(X)
        kind, out = self._collect(X, probabilities, self.n_components)
        return kind.give(out)

    def score_samples(self, X: Any) -> Any:
        """Log density of each point, (N,), in nats."""

        def log_prob(x: Tensor) -> Tensor:
            parameters = state.to(x.device, x.dtype)
            return ops.vmf_mixture_log_prob(x, *parameters, responsibilities=False)[0]

        state = self._state_for(X)
        kind, out = self._collect(X, log_prob, None)
        return kind.give(out)

    def score(self, X: Any, y: None = None, sample_weight: Any = None) -> float:
        """The mean log density of the points, in nats."""
        state = self._state_for(X)
        total, weight = 0.0, 0.0
        for x, weights in self._points(X, sample_weight, reset=False).blocks():
            parameters = state.to(x.device, x.dtype)
            log_prob, _ = ops.vmf_mixture_log_prob(x, *parameters, responsibilities=False)
            total += float(weighted_sum(log_prob, weights))
            weight += len(x) if weights is None else float(weights.sum(dtype=torch.float64))
        return total / weight

    def bic(self, X: Any) -> float:
        """Bayesian information criterion at these points; the lowest K is the best.

        -2 N score(X) + m log N with m parameters: K - 1 weights, K (p - 1) directions, and the
        fitted concentrations.
        """
        n = self._read(X)[2]
        return -2 * n * self.score(X) + self._parameters() * math.log(n)

    def aic(self, X: Any) -> float:
        """Akaike information criterion at these points, -2 N score(X) + 2 m; see `bic`."""
        return -2 * self._read(X)[2] * self.score(X) + 2 * self._parameters()

    def sample(self, n_samples: int = 1) -> tuple[Any, Any]:
        """Draws of the fitted mixture: points (n_samples, p), and their components (n_samples,).

        In the order of the components. An integer `random_state` gives the same draws each time.
        """
        self._require_fit()
        owner = type(self).__name__
        n = arguments.integer(owner, "n_samples", n_samples)
        rng = self._rng()
        weights = torch.as_tensor(self.weights_).double().cpu().numpy()
        counts = rng.multinomial(n, weights / weights.sum())
        device = torch.as_tensor(self.locs_).device
        dtype = torch.as_tensor(self.locs_).dtype
        kind = Kind(not isinstance(self.locs_, Tensor), device, dtype)
        state = self._state(kind)
        labels = torch.repeat_interleave(torch.from_numpy(counts)).to(device)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        draws = ops.vmf_sample(
            state.locs[labels], state.concentrations[labels], generator=generator
        )
        return kind.give(draws), kind.give(labels)

    def _parameters(self) -> int:
        k, dim = self.locs_.shape
        concentrations = {"free": k, "tied": 1}.get(str(self.concentration), 0)
        return k - 1 + k * (dim - 1) + concentrations

    # ---- the fit ----------------------------------------------------------------------

    def _size(self) -> int:
        return arguments.integer(type(self).__name__, "n_components", self.n_components)

    def _model(self, source: Source) -> Mixture:
        owner = type(self).__name__
        self._size()
        tol = arguments.number(owner, "tol", self.tol)
        prior = arguments.number(owner, "concentration_prior", self.concentration_prior)
        for name, value in (("tol", tol), ("concentration_prior", prior)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{owner}: {name} must be finite and >= 0, got {value}")
        hard = arguments.choice(owner, "assignment", self.assignment, ("soft", "hard")) == "hard"
        fixed = None
        if isinstance(self.concentration, str):
            arguments.choice(owner, "concentration", self.concentration, ("free", "tied"))
        else:
            fixed = arguments.number(owner, "concentration", self.concentration)
            if not 0 <= fixed < math.inf:
                raise ValueError(f"{owner}: concentration must be finite and >= 0, got {fixed}")
        tied = self.concentration == "tied"
        return Mixture(hard, tied, fixed, prior, tol, source.kind.dtype)

    def _begin(self, model: Any, locs: Tensor, source: Source, group: Group) -> Components:
        return model.start(locs, source, group)

    def _is_fitted(self) -> bool:
        return hasattr(self, "locs_")

    def _state(self, kind: Kind) -> Components:
        locs, concentrations, weights = (
            torch.as_tensor(each).to(kind.device, torch.float64)
            for each in (self.locs_, self.concentrations_, self.weights_)
        )
        return Components(locs, concentrations, weights.log())

    def _state_for(self, X: Any) -> Components:
        return self._state(self._read(X)[0])

    def _store(self, state: Components, kind: Kind) -> None:
        self.locs_ = kind.give(state.locs)
        self.concentrations_ = kind.give(state.concentrations)
        self.weights_ = kind.give(state.log_weights.exp())

    def _finish(self, result: Fit[Components], source: Source) -> None:
        super()._finish(result, source)
        self.n_iter_, self.converged_ = result.updates, result.converged
        self.lower_bound_, self.lower_bounds_ = result.found.objective, result.history

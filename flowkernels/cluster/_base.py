"""What both estimators share: reading points, fitting, streams, and the results' kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from flowkernels import arguments

from ._estimator import BaseEstimator, NotFittedError, random_state, record_features
from ._fitting import Evaluation, Fit, Model, fit, next_statistics
from ._group import Group
from ._progress import Progress
from ._rows import Kind, points
from ._rows import unit_blocks as blocks_of
from ._sources import Batches, Points, Source
from ._start import directions, seeds

__all__ = ["SphericalEstimator"]

State = TypeVar("State")
_Self = TypeVar("_Self", bound="SphericalEstimator[Any]")


class SphericalEstimator(BaseEstimator, Generic[State]):
    """A model of directions that is fitted by passes over the points."""

    _INITS: tuple[str, ...]
    _OBJECTIVE: str  # what the progress bar calls it

    init: Any
    n_init: int
    max_iter: int
    normalize: bool
    learning_decay: float
    learning_offset: float
    warm_start: bool
    distributed: bool
    verbose: bool
    random_state: Any

    n_features_in_: int
    n_steps_: int
    _stream: Evaluation | None

    # ---- what an estimator defines --------------------------------------------------

    def _size(self) -> int:
        """The number of clusters."""
        raise NotImplementedError

    def _model(self, source: Source) -> Model[State]:
        """Checks the estimator's own arguments, and makes the model."""
        raise NotImplementedError

    def _begin(self, model: Any, locs: Tensor, source: Source, group: Group) -> State:
        """The first state from directions."""
        raise NotImplementedError

    def _state(self, kind: Kind) -> State:
        """The state that the attributes hold."""
        raise NotImplementedError

    def _store(self, state: State, kind: Kind) -> None:
        """Writes a state to the attributes."""
        raise NotImplementedError

    def _is_fitted(self) -> bool:
        raise NotImplementedError

    # ---- fitting --------------------------------------------------------------------

    def fit(self: _Self, X: Any, y: None = None, sample_weight: Any = None) -> _Self:
        """Fits to points.

        Args:
            X: points (N, p), p >= 2: a NumPy array (or what becomes one) or a tensor on any
                device. float64 and integers are fitted in float64, the others in float32. Used in
                place where rows have unit length; otherwise normalised a block at a time.
            y: not used.
            sample_weight: (N,), >= 0; a point of weight 2 counts as two points.

        Returns:
            the estimator.

        Raises:
            TypeError, ValueError: an argument has a wrong type, shape or value; a row is zero or
                not finite; there are fewer points than clusters.
        """
        source = self._points(X, sample_weight, reset=True)
        record_features(self, X, source.dim, reset=True)
        self._finish(self._fit(source), source)
        return self

    def fit_batches(
        self: _Self, batches: Iterable[Any] | Callable[[], Iterable[Any]], y: None = None
    ) -> _Self:
        """Fits to data that are larger than memory.

        Args:
            batches: an iterable that can be iterated again (a list, a data loader), or a function
                that returns an iterable. It gives the same points in each pass, in arrays or
                tensors X (n, p), or pairs (X, sample_weight).
            y: not used.

        Returns:
            the estimator. Each pass iterates once; one more pass for each start draws the sample
            of points from which first directions are chosen.

        Raises:
            TypeError, ValueError: as `fit`, or `batches` is empty or can be iterated only once.
        """
        source = Batches(type(self).__name__, batches, self._flag("normalize"))
        record_features(self, None, source.dim, reset=True)
        self._finish(self._fit(source), source)
        return self

    def partial_fit(self: _Self, X: Any, y: None = None, sample_weight: Any = None) -> _Self:
        """One step on a batch of a stream.

        The statistics of the batch enter the averages of those before with the step
        (learning_offset + n)^(-learning_decay), n batches after the first, or after `fit`; then
        the state is the best one for these averages. The first batch must have at least as many
        points as there are clusters.

        Args:
            X: points (n, p), as for `fit`.
            y: not used.
            sample_weight: (n,), >= 0.

        Returns:
            the estimator.

        Source: Cappé & Moulines, JRSS B 71 (2009), section 2.2.
        """
        source = self._points(X, sample_weight, reset=False)
        owner = type(self).__name__
        first = not self._is_fitted()
        record_features(self, X, source.dim, reset=first)
        group = Group(owner, self._flag("distributed"))
        model = self._model(source)
        decay, offset = self._learning()
        if first:
            locs = directions(owner, source, self._size(), self._init(), self._rng(), group)
            state = self._begin(model, locs, source, group)
            self._stream, self.n_steps_ = None, 0
        else:
            state = self._state(source.kind)
        found = model.evaluate(state, source, group)
        step = 1.0 if self._stream is None else (offset + self.n_steps_) ** -decay
        self._stream = next_statistics(self._stream, found, step)
        self._store(model.update(state, self._stream, None, group), source.kind)
        self.n_steps_ += 1
        return self

    def _fit(self, source: Source) -> Fit[State]:
        owner = type(self).__name__
        group = Group(owner, self._flag("distributed"))
        model = self._model(source)
        max_iter = arguments.integer(owner, "max_iter", self.max_iter)
        n_init = arguments.integer(owner, "n_init", self.n_init)
        self._learning()
        if self._flag("warm_start") and self._is_fitted():
            starts: Iterable[State] = [self._state(source.kind)]
            n_init = 1
        else:
            n_init = n_init if isinstance(self._init(), str) else 1
            starts = self._starts(model, source, group, n_init)
        verbose = self._flag("verbose") and group.rank == 0
        progress = Progress(owner, verbose, self._OBJECTIVE, n_init * (max_iter + 1))
        return fit(model, source, starts, group, max_iter, progress)

    def _starts(
        self, model: Model[State], source: Source, group: Group, count: int
    ) -> Iterator[State]:
        rng = self._rng()
        for _ in range(count):
            locs = directions(type(self).__name__, source, self._size(), self._init(), rng, group)
            yield self._begin(model, locs, source, group)

    def _finish(self, result: Fit[State], source: Source) -> None:
        """Writes what a fit found to the attributes."""
        self._store(result.state, source.kind)
        self._stream, self.n_steps_ = next_statistics(None, result.found, 1.0), 1

    # ---- arguments ------------------------------------------------------------------

    def _points(self, X: Any, sample_weight: Any, *, reset: bool) -> Points:
        owner = type(self).__name__
        features = self.n_features_in_ if self._is_fitted() and not reset else None
        source = Points(owner, X, sample_weight, self._flag("normalize"), features)
        if source.weights is not None and not bool(source.weights.sum() > 0):
            raise ValueError(f"{owner}: sample_weight must not be zero everywhere")
        return source

    def _flag(self, name: str) -> bool:
        return arguments.flag(type(self).__name__, name, getattr(self, name))

    def _init(self) -> Any:
        if isinstance(self.init, str):
            return arguments.choice(type(self).__name__, "init", self.init, self._INITS)
        return self.init

    def _rng(self) -> Any:
        return seeds(random_state(type(self).__name__, self.random_state), 4)

    def _learning(self) -> tuple[float, float]:
        owner = type(self).__name__
        decay = arguments.number(owner, "learning_decay", self.learning_decay)
        if not 0 <= decay <= 1:
            raise ValueError(f"{owner}: learning_decay must be in [0, 1], got {decay}")
        offset = arguments.number(owner, "learning_offset", self.learning_offset)
        if not 1 <= offset < float("inf"):
            raise ValueError(f"{owner}: learning_offset must be at least 1, got {offset}")
        return decay, offset

    # ---- points to look at after the fit ----------------------------------------------

    def _require_fit(self) -> None:
        if not self._is_fitted():
            raise NotFittedError(
                f"{type(self).__name__}: this instance is not fitted yet; call fit first"
            )

    def _read(self, X: Any) -> tuple[Kind, Iterator[tuple[slice, Tensor]], int]:
        """The kind of the results, blocks of rows of unit length, and the number of rows."""
        self._require_fit()
        owner = type(self).__name__
        x, kind = points(owner, X, features=self.n_features_in_)
        record_features(self, X, x.shape[1], reset=False)
        return kind, blocks_of(owner, x, kind.dtype, self._flag("normalize")), x.shape[0]

    def _collect(
        self, X: Any, of_block: Callable[[Tensor], Tensor], columns: int | None, dtype: Any = None
    ) -> tuple[Kind, Tensor]:
        """A function of rows, a block at a time."""
        kind, blocks, n = self._read(X)
        shape = (n,) if columns is None else (n, columns)
        out = torch.empty(shape, dtype=dtype or kind.dtype, device=kind.device)
        for rows, x in blocks:
            out[rows] = of_block(x)
        return kind, out

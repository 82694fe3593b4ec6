"""The base classes of scikit-learn, or small ones in their place where it is not installed.

The estimators compute with torch alone. With scikit-learn they are its estimators in full (tags,
`clone`, `set_output`, pipelines and searches); without it they keep `get_params`, `set_params`,
`fit_predict` and `fit_transform`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ._without_sklearn import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    ConvergenceWarning,
    DensityMixin,
    NotFittedError,
    TransformerMixin,
)

__all__ = [
    "BaseEstimator",
    "ClassNamePrefixFeaturesOutMixin",
    "ClusterMixin",
    "ConvergenceWarning",
    "DensityMixin",
    "NotFittedError",
    "TransformerMixin",
    "random_state",
    "record_features",
    "warn_of",
]

validate_data: Any = None

# The type checker sees the small classes: scikit-learn has no types.
if not TYPE_CHECKING:
    try:
        from sklearn.base import (
            BaseEstimator,
            ClassNamePrefixFeaturesOutMixin,
            ClusterMixin,
            DensityMixin,
            TransformerMixin,
        )
        from sklearn.exceptions import ConvergenceWarning, NotFittedError
        from sklearn.utils.validation import validate_data
    except ImportError:  # not there, or older than 1.6
        pass


def record_features(estimator: Any, X: Any, dim: int, *, reset: bool) -> None:
    """Records the number (and names) of the features, or compares them with those of the fit.

    `X` is None for batches, of which only the width counts.
    """
    if validate_data is not None and X is not None:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    elif reset:
        estimator.n_features_in_ = dim
    elif estimator.n_features_in_ != dim:
        raise ValueError(
            f"X has {dim} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )


def random_state(owner: str, value: Any) -> Any:
    """A NumPy generator: `RandomState` of a seed, the global one for None, or what is given."""
    if value is None:
        return np.random.mtrand._rand
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return np.random.RandomState(int(value))
    raise TypeError(
        f"{owner}: random_state must be None, an integer, a numpy.random.RandomState or a "
        f"numpy.random.Generator, got {type(value).__name__}"
    )


def warn_of(owner: str, message: str) -> None:
    """Warns as scikit-learn does of a fit that gives less than was asked for."""
    warnings.warn(f"{owner}: {message}", ConvergenceWarning, stacklevel=4)

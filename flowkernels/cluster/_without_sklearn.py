"""Small classes in place of scikit-learn's, under the same names, for where it is not installed."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

__all__ = [
    "BaseEstimator",
    "ClassNamePrefixFeaturesOutMixin",
    "ClusterMixin",
    "ConvergenceWarning",
    "DensityMixin",
    "NotFittedError",
    "TransformerMixin",
]

_Self = TypeVar("_Self")


class BaseEstimator:
    """Parameters by the names of the constructor, as in scikit-learn."""

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self: _Self, **params: Any) -> _Self:
        """Sets constructor arguments by name."""
        names = type(self)._names()  # type: ignore[attr-defined]
        for name, value in params.items():
            if name not in names:
                raise ValueError(
                    f"{type(self).__name__}: a parameter must be one of {', '.join(names)}, "
                    f"got {name!r}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


class ClusterMixin:
    """`fit_predict`."""

    def fit_predict(self, X: Any, y: None = None, **arguments: Any) -> Any:
        """Fits, and returns `labels_`."""
        return self.fit(X, **arguments).labels_  # type: ignore[attr-defined]


class TransformerMixin:
    """`fit_transform`."""

    def fit_transform(self, X: Any, y: None = None, **arguments: Any) -> Any:
        """Fits, and transforms the same points."""
        return self.fit(X, **arguments).transform(X)  # type: ignore[attr-defined]


class ClassNamePrefixFeaturesOutMixin:
    """Nothing: `get_feature_names_out` is scikit-learn's."""


class DensityMixin:
    """Nothing: it marks density estimators for scikit-learn."""


class NotFittedError(ValueError, AttributeError):
    """An estimator is used before it was fitted."""


class ConvergenceWarning(UserWarning):
    """A fit gives less than was asked for."""

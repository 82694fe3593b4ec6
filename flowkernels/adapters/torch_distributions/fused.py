"""Transforms of torch.distributions whose value and log-det come from one call of an op."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.transforms import Transform

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FusedTransform"]


class _Computed(NamedTuple):
    """A pair (x, y) and its log-det; the pair itself is not kept alive."""

    x: Callable[[], Tensor | None]
    y: Callable[[], Tensor | None]
    log_det: Tensor
    with_graph: bool


class FusedTransform(Transform):
    """A bijective transform that computes y = f(x) and log|det dy/dx| together.

    Subclasses define ``_with_log_det`` and ``_inverse_with_log_det``. The log-det of the latest
    pair is remembered until ``log_abs_det_jacobian`` asks for it, so that no pass through the map
    is repeated: neither in ``TransformedDistribution.log_prob`` nor in zuko's ``call_and_ladj``.
    With ``cache_size=1`` it is kept as long as torch keeps the pair. A pair that was computed
    without gradients is computed again where gradients are wanted.

    Args:
        cache_size: 0 or 1, as in torch.distributions: whether the latest pair is kept, so that
            the log_prob of a sample needs no inverse.
    """

    bijective = True

    def __init__(self, cache_size: int = 0) -> None:
        self._computed: _Computed | None = None
        super().__init__(cache_size=cache_size)

    def _with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log|det dy/dx|."""
        raise NotImplementedError(f"{type(self).__name__} does not define _with_log_det")

    def _inverse_with_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x and log|det dx/dy|."""
        raise NotImplementedError(f"{type(self).__name__} does not define _inverse_with_log_det")

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        """log|det dy/dx| of a pair that is not remembered."""
        return self._with_log_det(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        y, log_det = self._with_log_det(x)
        self._remember(x, y, log_det)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_det = self._inverse_with_log_det(y)
        self._remember(x, y, -log_det)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        known = self._computed
        if self._cache_size == 0:
            self._computed = None
        if known is None or known.x() is not x or known.y() is not y:
            return self._log_det(x, y)
        if torch.is_grad_enabled() and not known.with_graph:
            return self._log_det(x, y)
        return known.log_det

    def _remember(self, x: Tensor, y: Tensor, log_det: Tensor) -> None:
        self._computed = _Computed(
            _reference(x), _reference(y), log_det, with_graph=torch.is_grad_enabled()
        )

    def with_cache(self, cache_size: int = 1) -> Self:
        """The same transform, sharing all parameters, with another size of the cache."""
        if self._cache_size == cache_size:
            return self
        if cache_size not in (0, 1):
            raise ValueError(f"{type(self).__name__}: cache_size must be 0 or 1, got {cache_size}")
        new = copy.copy(self)
        new._cache_size = cache_size
        new._cached_x_y = None, None
        return new

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**state, "_computed": None, "_cached_x_y": (None, None)}

    def __hash__(self) -> int:  # torch's transforms, which compare equal to themselves, have none
        return id(self)


def _reference(x: Tensor) -> Callable[[], Tensor | None]:
    """A weak reference; in a graph, which ends with the call, a strong one."""
    if torch.compiler.is_compiling():
        return lambda: x
    return weakref.ref(x)

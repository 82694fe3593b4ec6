"""Splines of given parameters as a transform of torch.distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from flowkernels import arguments, ops
from flowkernels.bijections.spline_coupling import Splines
from flowkernels.distributions.constraints import real_event
from flowkernels.ops.rational_quadratic_spline import Boundary, Convention

from .fused import FusedTransform

__all__ = ["SplineTransform"]


class SplineTransform(Splines, FusedTransform):
    r"""A monotonic rational-quadratic spline of each element, from raw parameters.

    The splines are those of :func:`flowkernels.ops.rational_quadratic_spline`: increasing, and by
    default the identity outside [-bound, bound]. For an affine map of each element torch has its
    own ``AffineTransform``.

    Args:
        params: (\*shape, M), M = 3 bins - 1 for the boundary ``linear``, 3 bins for ``circular``,
            3 bins + 1 for ``none``; `shape` broadcasts with that of x.
        event_dim: how many of the last dimensions of x make up one event, over which the log-det
            is summed; 0 for elements that are independent, as in torch's ``AffineTransform``.
        bins, bound, boundary, min_width, min_height, min_derivative, convention, scale: see the
            op. Dtypes of x and params go together as there.
        cache_size: 0 or 1, see :class:`FusedTransform`.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Source: Durkan et al., Neural Spline Flows (arXiv 1906.04032), eq. 4-8.

    Example:
        >>> from torch.distributions import Normal, TransformedDistribution
        >>> splines = SplineTransform(torch.randn(4, 23))
        >>> skewed = TransformedDistribution(Normal(0.0, 1.0), splines)
        >>> skewed.batch_shape, skewed.rsample((100,)).shape, skewed.cdf(torch.zeros(4)).shape
        (torch.Size([4]), torch.Size([100, 4]), torch.Size([4]))
    """

    def __init__(
        self,
        params: Tensor,
        *,
        event_dim: int = 0,
        bins: int = 8,
        bound: float = 3.0,
        boundary: Boundary = "linear",
        min_width: float = 1e-3,
        min_height: float = 1e-3,
        min_derivative: float = 1e-3,
        convention: Convention = "nflows",
        scale: float = 1.0,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size=cache_size)
        self._set_splines(
            bins=bins, bound=bound, boundary=boundary, min_width=min_width,
            min_height=min_height, min_derivative=min_derivative, convention=convention,
            scale=scale,
        )  # fmt: skip
        arguments.floating_tensor("SplineTransform", "params", params)
        if params.ndim < 1 or params.shape[-1] != self.parameters_per_channel:
            raise ValueError(
                f"SplineTransform: params must have shape (*shape, {self.parameters_per_channel}) "
                f"for {bins} bins and boundary={boundary!r}, got {tuple(params.shape)}"
            )
        self.params = params
        self._event_dim = arguments.integer("SplineTransform", "event_dim", event_dim, 0)
        self.domain = self.codomain = real_event(event_dim) if event_dim else constraints.real

    @property
    def event_dim(self) -> int:
        return self._event_dim

    @property
    def sign(self) -> int:
        return 1

    def _with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._splined(x, inverse=False)

    def _inverse_with_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._splined(y, inverse=True)

    def _splined(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        shape = self.forward_shape(x.shape)
        # Rows for the op: an event, or for independent elements the last dimension.
        first = len(shape) - max(self._event_dim, min(len(shape), 1))
        rows, elements = math.prod(shape[:first]), math.prod(shape[first:])
        parameters = self.params.shape[-1]
        y, log_det = ops.rational_quadratic_spline(
            x.expand(shape).reshape(rows, elements),
            self.params.expand(*shape, parameters).reshape(rows, elements * parameters),
            inverse=inverse,
            reduction="row" if self._event_dim else "none",
            **self._splines,
        )
        return y.reshape(shape), log_det.reshape(shape[: len(shape) - self._event_dim])

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        try:
            found = torch.broadcast_shapes(shape, self.params.shape[:-1])
        except RuntimeError:
            found = torch.Size()
        if len(found) < max(len(shape), self._event_dim):
            raise ValueError(
                f"SplineTransform: shape must broadcast with that of the splines "
                f"{tuple(self.params.shape[:-1])} and have at least {self._event_dim} dimensions, "
                f"got {tuple(shape)}"
            )
        return found

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self.forward_shape(shape)

    def __repr__(self) -> str:
        shape = tuple(self.params.shape)
        return f"SplineTransform({shape}, event_dim={self._event_dim}, {self._shown_splines()})"

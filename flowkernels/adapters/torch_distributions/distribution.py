"""Flows as distributions of torch.distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from flowkernels import arguments
from flowkernels.bijections import Dequantize
from flowkernels.distributions.constraints import real_event
from flowkernels.flows import Flow

from .bijection import checked_context

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FlowDistribution", "as_distribution"]


def as_distribution(
    flow: Flow, context: Tensor | None = None, *, validate_args: bool | None = None
) -> FlowDistribution:
    r"""A flow as a distribution of torch.distributions, sharing its parameters.

    Args:
        flow: any flow, also one of discrete data.
        context: (\*batch, \*context_shape), for a flow that reads one; `batch` becomes the batch
            shape, one density p(x | context) for each.
        validate_args: as everywhere in torch.distributions.

    Returns:
        A distribution with the flow's ``event_shape``. It has ``rsample`` unless the base has none
        or the data are discrete.

    Raises:
        TypeError: `flow` is none, or a context is missing or not read.
        ValueError: the context has a wrong shape.

    Example:
        >>> from flowkernels.flows import maf
        >>> flow = maf(3, layers=2, hidden=8, context=2).eval()
        >>> density = as_distribution(flow, torch.randn(5, 2))
        >>> density.batch_shape, density.event_shape
        (torch.Size([5]), torch.Size([3]))
        >>> x = density.rsample((4,))
        >>> x.shape, density.log_prob(x).shape
        (torch.Size([4, 5, 3]), torch.Size([4, 5]))
    """
    return FlowDistribution(flow, context, validate_args=validate_args)


class FlowDistribution(Distribution):
    """A :class:`flowkernels.flows.Flow` with the torch.distributions interface.

    See :func:`as_distribution`. The log_prob of a flow of discrete data is its one-sample bound, as
    that of the flow.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        flow: Flow,
        context: Tensor | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        if not isinstance(flow, Flow):
            raise TypeError(f"{owner}: flow must be a Flow, got {type(flow).__name__}")
        self.flow = flow
        self.context = checked_context(owner, flow, context)
        if self.context is not None:
            own = self.context.shape[: self.context.ndim - len(flow.context_shape)]
            batch_shape = torch.broadcast_shapes(own, torch.Size(batch_shape))
        super().__init__(torch.Size(batch_shape), flow.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.flow.dequantize is None and bool(self.flow.base.has_rsample)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        dims, dequantize = len(self.event_shape), self.flow.dequantize
        if isinstance(dequantize, Dequantize):
            levels = constraints.integer_interval(0, dequantize.levels - 1)
            return constraints.independent(levels, dims)
        return real_event(dims)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        new.flow, new.context = self.flow, self.context
        Distribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        first = value.ndim - len(self.event_shape)
        batch = torch.broadcast_shapes(value.shape[:first], self.batch_shape)
        if self.context is None:
            return self.flow.log_prob(value).expand(batch)
        return self.flow.log_prob(value.expand(*batch, *self.event_shape), self.context)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape, context = self._given(sample_shape)
        return self._leading(self.flow.sample(shape, context), sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        self._require_rsample("rsample")
        shape, context = self._given(sample_shape)
        return self._leading(self.flow.rsample(shape, context), sample_shape)

    def sample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """`sample` and the log_prob of the draws, with one pass through the flow."""
        shape, context = self._given(sample_shape)
        x, log_prob = self.flow.sample_and_log_prob(shape, context)
        return self._leading(x, sample_shape), self._leading(log_prob, sample_shape)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """`rsample` and the log_prob of the draws, with one pass through the flow."""
        self._require_rsample("rsample_and_log_prob")
        shape, context = self._given(sample_shape)
        x, log_prob = self.flow.rsample_and_log_prob(shape, context)
        return self._leading(x, sample_shape), self._leading(log_prob, sample_shape)

    def _require_rsample(self, name: str) -> None:
        if not self.has_rsample:
            raise NotImplementedError(
                f"FlowDistribution: {name} needs a base with rsample and continuous data; "
                "`has_rsample` is False"
            )

    def _given(self, sample_shape: Any) -> tuple[torch.Size, Tensor | None]:
        """What the flow draws for each context, and the contexts of the whole batch."""
        shape = arguments.shape("FlowDistribution", "sample_shape", sample_shape)
        if self.context is None:
            return shape + self.batch_shape, None
        return shape, self.context.expand(*self.batch_shape, *self.flow.context_shape)

    def _leading(self, drawn: Tensor, sample_shape: Any) -> Tensor:
        """The sample dimensions in front of those of the batch; the flow has them behind."""
        if self.context is None or not len(sample_shape) or not self.batch_shape:
            return drawn
        batch, samples = len(self.batch_shape), len(sample_shape)
        return drawn.movedim(tuple(range(batch, batch + samples)), tuple(range(samples)))

    def __repr__(self) -> str:
        shapes = f"batch_shape={tuple(self.batch_shape)}, event_shape={tuple(self.event_shape)}"
        return f"FlowDistribution({type(self.flow).__name__}, {shapes})"

"""A flow as density estimator of the library sbi."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.flows import Flow

from .packed import PackedParameters

__all__ = ["FlowEstimator"]


class FlowEstimator(ConditionalDensityEstimator):  # type: ignore[misc]
    """A conditional flow as sbi's density estimator: p(input | condition).

    The leading dimensions are sbi's: samples, then batch, each entry of the batch with a condition
    of its own. What the flow computes from a condition alone, an embedding network in the first
    place, it computes once for all samples of that condition.

    Args:
        net: a flow on R^n that reads a context, n the number of elements of an input.
        input_shape: of one input.
        condition_shape: of one condition; the flow's ``context_shape``.
        pack: keep the parameters of the flow's bijection in one tensor, which an optimizer updates
            at once (:class:`.packed.PackedParameters`). They are then trained through this
            estimator alone.

    Raises:
        ValueError: the flow's shapes are others, or an input or a condition has a wrong shape.
        RuntimeError: the batches of an input and a condition do not broadcast.

    Example:
        >>> from flowkernels.flows import realnvp
        >>> flow = realnvp(3, layers=2, hidden=8, context=2)
        >>> estimator = FlowEstimator(flow, input_shape=(3,), condition_shape=(2,))
        >>> theta, x = torch.randn(100, 5, 3), torch.randn(5, 2)
        >>> estimator.log_prob(theta, x).shape, estimator.sample((7,), x).shape
        (torch.Size([100, 5]), torch.Size([7, 5, 3]))
    """

    net: Flow

    def __init__(
        self,
        net: Flow,
        input_shape: Sequence[int],
        condition_shape: Sequence[int],
        *,
        pack: bool = False,
    ) -> None:
        if not isinstance(net, Flow):
            raise TypeError(f"FlowEstimator: net must be a Flow, got {type(net).__name__}")
        input_shape = arguments.shape("FlowEstimator", "input_shape", input_shape)
        condition_shape = arguments.shape("FlowEstimator", "condition_shape", condition_shape)
        if not net.context_features:
            raise ValueError("FlowEstimator: net must be a flow that reads a context")
        if net.event_shape != (input_shape.numel(),):
            raise ValueError(
                f"FlowEstimator: net must have event_shape ({input_shape.numel()},), that of an "
                f"input {tuple(input_shape)} flattened, got {tuple(net.event_shape)}"
            )
        if net.context_shape != condition_shape:
            raise ValueError(
                f"FlowEstimator: condition_shape must be {tuple(net.context_shape)}, the flow's "
                f"context_shape, got {tuple(condition_shape)}"
            )
        super().__init__(net, input_shape=input_shape, condition_shape=condition_shape)
        arguments.flag("FlowEstimator", "pack", pack)
        self._packed = PackedParameters(net.bijection) if pack else None

    @property
    def embedding_net(self) -> nn.Module:
        """What maps conditions to the features that the flow reads, z-scoring included."""
        return nn.Identity() if self.net.embedding is None else self.net.embedding

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """What an optimizer updates: with pack=True one tensor for all of the bijection."""
        if self._packed is None:
            yield from super().parameters(recurse)
            return
        yield self._packed.weights
        for other in (self.net.base, self.net.embedding) if recurse else ():
            if other is not None:
                yield from other.parameters()

    def log_prob(self, input: Tensor, condition: Tensor) -> Tensor:
        """Log densities (sample, batch).

        Args:
            input: (sample, batch, *input_shape) or (batch, *input_shape).
            condition: (batch, *condition_shape) or (sample, batch, *condition_shape). Batches
                broadcast.
        """
        rows = self._leading("input", input, self.input_shape)
        given = self._leading("condition", condition, self.condition_shape)
        _check_batches(rows.shape[:2], given.shape[:2])
        # The flow takes the rows of one context together: batch first.
        rows, given = rows.transpose(0, 1), given.transpose(0, 1)
        rows = rows.expand(max(len(rows), len(given)), *rows.shape[1:])
        flat = rows.reshape(*rows.shape[:2], -1)
        with self._trainable():
            return self.net.log_prob(flat, given).transpose(0, 1)

    def loss(self, input: Tensor, condition: Tensor) -> Tensor:
        """-log density (batch,) of inputs (batch, *input_shape), one for each condition."""
        self._check_input_shape(input)
        with self._trainable():
            return -self.net.log_prob(input.flatten(1), condition)

    def sample(self, sample_shape: Sequence[int], condition: Tensor) -> Tensor:
        """Draws (*sample_shape, batch, *input_shape) given conditions (batch, *condition_shape)."""
        return self._as_inputs(self.net.sample(sample_shape, condition), sample_shape)

    def sample_and_log_prob(
        self, sample_shape: Sequence[int], condition: Tensor, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Draws as those of :meth:`sample`, differentiable, and their log densities."""
        with self._trainable():
            drawn, log_prob = self.net.rsample_and_log_prob(sample_shape, condition)
        return self._as_inputs(drawn, sample_shape), log_prob.movedim(0, -1)

    def inverse_transform(self, input: Tensor, condition: Tensor) -> Tensor:
        """The latents (*batch, n) of inputs (*batch, *input_shape), n elements each.

        They are standard normal if the estimator is exact. Batch shapes broadcast.
        """
        self._check_input_shape(input)
        self._check_condition_shape(condition)
        events = len(self.input_shape), len(self.condition_shape)
        batches = (
            input.shape[: input.ndim - events[0]],
            condition.shape[: condition.ndim - events[1]],
        )
        batch = torch.broadcast_shapes(*batches)
        rows = input.expand(*batch, *self.input_shape).reshape(*batch, -1)
        with self._trainable():
            return self.net(rows, condition)[0]

    def _trainable(self) -> AbstractContextManager[None]:
        """Where gradients reach the parameters."""
        if self._packed is None:
            return nullcontext()
        if self.net.recompute:
            raise ValueError(
                "FlowEstimator: net must have recompute=False with pack=True, got True"
            )
        return self._packed.unpacked()

    def _leading(self, name: str, value: Tensor, shape: torch.Size) -> Tensor:
        """A tensor (sample, batch, *shape) of one that may lack the first dimension."""
        ndim = value.ndim - len(shape)
        if ndim not in (1, 2) or value.shape[ndim:] != shape:
            event = ", ".join(map(str, shape))
            raise ValueError(
                f"FlowEstimator: {name} must have shape (batch, {event}) or "
                f"(sample, batch, {event}), got {tuple(value.shape)}"
            )
        return value if ndim == 2 else value.unsqueeze(0)

    def _as_inputs(self, drawn: Tensor, sample_shape: Sequence[int]) -> Tensor:
        """(*sample_shape, batch, *input_shape) of draws (batch, *sample_shape, n)."""
        drawn = drawn.movedim(0, -2)
        return drawn.reshape(*drawn.shape[:-1], *self.input_shape)


def _check_batches(rows: torch.Size, given: torch.Size) -> None:
    samples = given[0] in (1, rows[0])
    if not samples or (rows[1] != given[1] and 1 not in (rows[1], given[1])):
        raise RuntimeError(
            "FlowEstimator: input and condition must have dimensions (sample, batch) that "
            f"broadcast, got {tuple(rows)} and {tuple(given)}"
        )

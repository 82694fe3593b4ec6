"""A training step replayed from a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CapturedStep"]


class CapturedStep:
    """Calls a step a few times, then captures it in a CUDA graph and replays that.

    A graph launches all kernels of a step at once, so that the device does not wait for Python.
    All calls are steps of the training: none is made only to warm up, and capturing runs no kernel
    and draws no random number. A batch of another shape is computed without the graph, after
    which the graph is captured again.

    Args:
        step: computes the gradients of a batch and returns the loss, a scalar without gradient. It
            must neither read from the device nor copy to it, except in its first calls.
        eager_calls: the number of calls before the capture.

    Raises:
        RuntimeError: a call cannot be captured; the message says how to train without.

    Example:
        >>> parameter = torch.nn.Parameter(torch.ones(2, device="cuda"))  # doctest: +SKIP
        >>> def step(batch):
        ...     parameter.grad = None
        ...     loss = (parameter * batch).sum()
        ...     loss.backward()
        ...     return loss.detach()
        >>> captured = CapturedStep(step)
        >>> losses = [float(captured(batch)) for batch in batches]  # doctest: +SKIP
    """

    def __init__(self, step: Callable[[Tensor], Tensor], *, eager_calls: int = 3) -> None:
        self._step = step
        self._eager_calls = eager_calls
        self._left = eager_calls
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream: torch.cuda.Stream | None = None
        self._batch = self._loss = torch.empty(0)

    @property
    def is_captured(self) -> bool:
        """Whether the last step was replayed from the graph."""
        return self._graph is not None

    def __call__(self, batch: Tensor) -> Tensor:
        """The loss of a batch; the next call overwrites it."""
        if self._graph is not None and not _alike(batch, self._batch):
            self._graph, self._left = None, self._eager_calls
        if self._graph is None:
            if self._left:
                self._left -= 1
                return self._eager(batch)
            self._graph = self._capture(batch)
        self._batch.copy_(batch)
        self._graph.replay()
        return self._loss

    def _eager(self, batch: Tensor) -> Tensor:
        """A step on the stream of the capture.

        Autograd and the libraries of the kernels keep state for a stream, which must exist when
        the capture begins.
        """
        if self._stream is None:
            self._stream = torch.cuda.Stream(batch.device)
        current = torch.cuda.current_stream(batch.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = self._step(batch)
        current.wait_stream(self._stream)
        return loss

    def _capture(self, batch: Tensor) -> torch.cuda.CUDAGraph:
        self._batch = batch.clone()
        graph = torch.cuda.CUDAGraph()
        # Autocast would reuse weights that were cast before the capture, and so not by the graph.
        torch.clear_autocast_cache()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._loss = self._step(self._batch)
        except RuntimeError as error:
            raise RuntimeError(
                "the training step cannot be captured in a CUDA graph "
                f"({type(error).__name__}: {str(error)[:300]}). Something in it reads a value from "
                "the GPU or copies to it; cuda_graph='off' (--cuda-graph off) trains without the "
                "graph"
            ) from error
        finally:
            torch.clear_autocast_cache()
        return graph


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.device == other.device

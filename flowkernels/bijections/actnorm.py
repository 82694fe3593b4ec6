"""Activation normalisation with a data-dependent start.

Kingma & Dhariwal, "Glow" (2018), section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.precision import full_precision
from flowkernels.synchronization import has_values, readable_without_sync, uncompiled

from . import context as contexts
from .base import Bijection, check_channels, constant_log_det, positions


class ActNorm(Bijection):
    """Per-channel affine map, initialised to normalise its first training batch.

    z = (x + bias) exp(log_scale) on (B, C, *S); log_det = prod(S) sum log_scale.
    The first forward in training mode sets both parameters so that every channel
    of z has mean 0 and variance 1 over batch and positions; a constant channel is
    centred and keeps scale 1. In a ``torch.distributed`` group the statistics are
    taken over the batches of all ranks, so every rank must run its first training
    batch.

    With a context (R, c), R a divisor of B, each context has its own scale and bias:
    [log_scale, bias] + W context. W starts at zero, and the first batch does not change it.

    Args:
        channels: C.
        context_features: c, or 0 for the same map whatever the context.

    Raises:
        ValueError: the input does not have C channels, the context has the wrong shape, or the
            first training batch is on the CPU and not finite. On a GPU the last check would
            need a host synchronization; the output is then not finite.

    Example:
        >>> layer = ActNorm(3)
        >>> z, log_det = layer(5 + 2 * torch.randn(4096, 3))
        >>> bool(z.mean(0).abs().max() < 1e-4), bool((z.std(0) - 1).abs().max() < 1e-3)
        (True, True)
    """

    reversible = True
    shares_context = True

    initialized: Tensor

    def __init__(self, channels: int, *, context_features: int = 0) -> None:
        super().__init__()
        arguments.integer("ActNorm", "channels", channels)
        arguments.integer("ActNorm", "context_features", context_features, 0)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))
        if context_features:
            self.context_features = context_features
            self.context = nn.Linear(context_features, 2 * channels, bias=False)
            nn.init.zeros_(self.context.weight)
        # A Python copy of the buffer: reading the tensor in forward would synchronise host
        # and device at every step and break the graph of torch.compile.
        self._started = False
        self.register_load_state_dict_post_hook(_read_started)  # type: ignore[no-untyped-call]

    @property
    def channels(self) -> int:
        return self.log_scale.shape[0]

    @property
    def awaits_start(self) -> bool:
        """Whether the next forward sets scale and bias."""
        return self.training and not self._started

    @uncompiled
    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Set scale and bias from the statistics of x (B, C, *S); an empty x changes nothing."""
        check_channels(type(self).__name__, x, self.channels)
        count, mean, std = _channel_statistics(x)
        # Only a rank with an empty batch needs to read the total count.
        if not x.shape[0] * positions(x) and (count is None or not bool(count > 0)):
            return
        # Averages of models, for one, copy buffers without load_state_dict: the buffer decides.
        done = self.initialized
        finite = mean.isfinite() & std.isfinite() | done
        if readable_without_sync(finite) and not finite.all():
            raise ValueError("ActNorm: the first training batch must be finite, got nan or inf")
        # Rounding gives a constant channel a tiny variance, which must not become a huge scale.
        floor = 1e-6 * torch.sqrt(mean.square() + std.square()) + 1e-12
        log_scale = -torch.where(std > floor, std, torch.ones_like(std)).log()
        self.log_scale.copy_(torch.where(done, self.log_scale, log_scale))
        self.bias.copy_(torch.where(done, self.bias, -mean))
        self.initialized.fill_(True)
        if has_values(x):
            self._started = True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(x, context)
        if self.awaits_start:
            self.start(x)
        check_channels(type(self).__name__, x, self.channels)
        if context is not None:
            log_scale, bias, log_det = self._of_each(context, x)
            z = (contexts.grouped(x, context) + bias) * log_scale.exp()
            return z.flatten(0, 1), log_det
        scale, bias = self._along(x, self.log_scale.exp()), self._along(x, self.bias)
        return (x + bias) * scale, constant_log_det(x, positions(x) * self.log_scale.sum())

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_channels(type(self).__name__, z, self.channels)
        self._check_context(z, context)
        if context is not None:
            log_scale, bias, log_det = self._of_each(context, z)
            x = contexts.grouped(z, context) * (-log_scale).exp() - bias
            return x.flatten(0, 1), -log_det
        scale, bias = self._along(z, (-self.log_scale).exp()), self._along(z, self.bias)
        return z * scale - bias, constant_log_det(z, -positions(z) * self.log_scale.sum())

    def _of_each(self, context: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-scale and bias of each context, for x in groups, and the log-det of each row."""
        with full_precision(x):
            of_context = self.context(context.to(self.bias.dtype))
        both = of_context + torch.cat([self.log_scale, self.bias])
        log_scale, bias = both.view(len(both), 1, 2 * self.channels, *[1] * (x.ndim - 2)).chunk(
            2, 2
        )
        dtype = torch.promote_types(x.dtype, torch.float32)
        log_det = positions(x) * both[:, : self.channels].sum(1, dtype=dtype)
        return log_scale, bias, contexts.each_row(log_det, x.shape[0])

    @staticmethod
    def _along(x: Tensor, per_channel: Tensor) -> Tensor:
        return per_channel.view(-1, *[1] * (x.ndim - 2))

    def extra_repr(self) -> str:
        context = f", context_features={self.context_features}" if self.context_features else ""
        return f"channels={self.channels}, initialized={self._started}{context}"


def _read_started(module: nn.Module, _: object) -> None:
    assert isinstance(module, ActNorm)
    module._started = has_values(module.initialized) and bool(module.initialized)


def _channel_statistics(x: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """(count, mean, standard deviation) of every channel over all ranks, in float64.

    The count is None without a ``torch.distributed`` group.
    """
    x = x.double().transpose(0, 1).flatten(1)
    total = _sum_over_ranks(torch.cat([x.sum(1), x.new_full((1,), x.shape[1])]))
    mean, count = total[:-1] / total[-1], total[-1]
    variance = _sum_over_ranks((x - mean[:, None]).square().sum(1)) / count
    return count if _has_ranks() else None, mean, variance.sqrt()


def _has_ranks() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _sum_over_ranks(x: Tensor) -> Tensor:
    if _has_ranks():
        torch.distributed.all_reduce(x)
    return x

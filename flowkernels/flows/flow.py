"""A normalizing flow: a bijection and a base distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.bases import Base
from flowkernels.bases.base import as_shape
from flowkernels.bijections import Bijection, Compose, Dequantize, GlowSteps
from flowkernels.bijections import context as contexts
from flowkernels.interpolation import Path
from flowkernels.precision import autocasts

from . import context as context_of

CPU = torch.device("cpu")


class Flow(nn.Module):
    """A density on data by change of variables: log p(x) = log p_base(f(x)) + log|det f'(x)|.

    Data has shape (*batch, *event_shape), any batch shape. With `dequantize`
    the data are discrete levels (8-bit images): ``log_prob`` is then a
    one-sample estimate of a lower bound on the log probability of the image,
    with uniform or learned noise, ``forward`` encodes the centres of the bins
    and is deterministic, and ``inverse`` and ``sample`` return levels.

    A flow whose bijection or base reads a context is a density p(x | context), and every method
    then takes a context (*batch, *context_shape): one for each x, or any batch shape that
    broadcasts to that of x, such as () for one context for all. `embedding`, if there is one, is
    a module that maps raw contexts (n, *context_shape) to the features (n, c) that are read. It
    runs once a call, on the contexts as they are given; what the layers compute from a context
    alone they compute once for all samples that share it.

    Args:
        bijection: data to latent.
        base: distribution of the latent.
        event_shape: of the data; default the base's.
        dequantize: applied before the bijection, for discrete data.
        recompute: recompute the activations of a chain of layers from its output instead of
            storing them: memory for one layer, for any number of layers, at about a third
            more time. First-order gradients only.
        embedding: from raw contexts (n, *context_shape) to features (n, c); default none.
        context_shape: of one raw context, () for class labels, say; default (c,).

    Raises:
        ValueError: an argument does not fit, or data, latents or context have a wrong shape.
        TypeError: a context is missing, or given to a flow that reads none; a wrong dtype.

    Example:
        >>> from flowkernels.flows import glow
        >>> flow = glow((1, 8, 8), levels=2, steps=2, hidden=8, base="normal")
        >>> x = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.log_prob(x).shape
        torch.Size([4])
        >>> z, log_det = flow(x)
        >>> bool((flow.inverse(z)[0] == x).all())
        True
        >>> flow = glow(
        ...     (1, 8, 8), levels=2, steps=2, hidden=8, context=4,
        ...     embedding=torch.nn.Embedding(10, 4), context_shape=(),
        ... )  # p(image | class)
        >>> flow.bits_per_dim(x, torch.tensor([3, 1, 4, 1])).shape
        torch.Size([4])
        >>> flow.sample(5, torch.arange(10)).shape  # five images of each class
        torch.Size([10, 5, 1, 8, 8])
    """

    context_features: int = 0
    embedding: nn.Module | None

    def __init__(
        self,
        bijection: Bijection,
        base: Base,
        *,
        event_shape: Sequence[int] | None = None,
        dequantize: Dequantize | None = None,
        recompute: bool = False,
        embedding: nn.Module | None = None,
        context_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        arguments.module_with("Flow", "bijection", bijection, "inverse")
        arguments.module_with("Flow", "base", base, "log_prob", "sample", "event_shape")
        if dequantize is not None:
            arguments.module_with("Flow", "dequantize", dequantize, "centre", "inverse")
        self.event_shape = arguments.shape(
            "Flow", "event_shape", base.event_shape if event_shape is None else event_shape
        )
        self.dequantize = dequantize
        self.bijection = bijection
        self.base = base
        self.recompute = recompute
        self._set_context(embedding, context_shape)

    def _set_context(
        self, embedding: nn.Module | None, context_shape: Sequence[int] | None
    ) -> None:
        self.context_features = contexts.common_features("Flow", (self.bijection, self.base))
        for name, value in {"embedding": embedding, "context_shape": context_shape}.items():
            if value is not None and not self.context_features:
                raise context_of.needless(name, value)
        if embedding is not None:
            arguments.module_with("Flow", "embedding", embedding)
        own = torch.Size([self.context_features])
        given = own if context_shape is None else context_shape
        self.context_shape = arguments.shape("Flow", "context_shape", given)
        if embedding is None and self.context_shape != own:
            raise ValueError(
                f"Flow: context_shape must be {tuple(own)} without an embedding, "
                f"got {tuple(self.context_shape)}"
            )
        self.embedding = embedding

    @property
    def recompute(self) -> bool:
        """Whether chains of layers recompute activations; can be set at any time."""
        return self._recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self._recompute = arguments.flag("Flow", "recompute", value)
        for module in self.bijection.modules():
            if isinstance(module, GlowSteps):
                module.recompute = value
            elif isinstance(module, Compose):
                module.recompute = value and all(b.reversible for b in module.bijections)

    @property
    def latent_shape(self) -> torch.Size:
        """The shape of one latent."""
        return self.base.event_shape

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the flow's parameters and, except for 8-bit images, of its data."""
        return self._dtype_and_device()[0]

    @property
    def device(self) -> torch.device:
        """The device of the flow's parameters."""
        return self._dtype_and_device()[1] or CPU

    def _dtype_and_device(self) -> tuple[torch.dtype, torch.device | None]:
        """Of the first floating-point parameter or buffer; without one no device is needed."""
        for each in chain(self.parameters(), self.buffers()):
            if each.is_floating_point():
                return each.dtype, each.device
        return torch.get_default_dtype(), None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(z, log|det dz/dx|): latents (*batch, d) of data (*batch, *event_shape)."""
        return self._encode(x, self._embedded(context), noise=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dz|): data (*batch, *event_shape) of latents (*batch, d)."""
        return self._decode(z, self._embedded(context))

    def _decode(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        rows, batch = context_of.split("z", z, self.latent_shape)
        own = None if context is None else context_of.of_rows(context, "z", batch)
        x, log_det = contexts.inverse(self.bijection, rows, own)
        if self.dequantize is not None:
            x, rest = self.dequantize.inverse(x)
            log_det = log_det + rest
        return x.reshape(*batch, *self.event_shape), log_det.reshape(batch)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log density of x (*batch, *event_shape), in nats, shape (*batch).

        For discrete data, of the levels; see the class.
        """
        own = self._embedded(context)
        z, log_det = self._encode(x, own, noise=True)
        return self._base_log_prob(z, own) + log_det

    def bits_per_dim(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log_prob(x) / (D log 2), D values per datum, shape (*batch)."""
        return self.log_prob(x, context) / (-math.log(2) * self.event_shape.numel())

    @torch.no_grad()
    def sample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> Tensor:
        """Draws (*sample_shape, *event_shape), or (n, *event_shape) for a number n.

        With a context (*batch, *context_shape), as many draws for each of them:
        (*batch, *sample_shape, *event_shape).
        """
        own = self._embedded(context)
        return self._decoded(*self._draws(self.base.sample, sample_shape, own))[0]

    @torch.no_grad()
    def sample_and_log_prob(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draws as those of :meth:`sample` and their log density, with one pass through the flow.

        Raises:
            TypeError: the flow's data are discrete.

        Example:
            >>> from flowkernels.flows import realnvp
            >>> flow = realnvp(3, layers=2, hidden=8, context=2)
            >>> x, log_prob = flow.sample_and_log_prob(7, torch.randn(5, 2))
            >>> x.shape, log_prob.shape
            (torch.Size([5, 7, 3]), torch.Size([5, 7]))
        """
        return self._draws_and_log_prob("sample", sample_shape, context)

    def rsample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> Tensor:
        """Reparametrised draws, in the shapes of :meth:`sample`.

        Raises:
            TypeError: the flow's data are discrete.
        """
        self._require_continuous("rsample")
        own = self._embedded(context)
        return self._decoded(*self._draws(self.base.rsample, sample_shape, own))[0]

    def rsample_and_log_prob(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reparametrised draws and their log density, with one pass through the flow.

        The shapes are those of :meth:`sample`.

        Raises:
            TypeError: the flow's data are discrete.
        """
        return self._draws_and_log_prob("rsample", sample_shape, context)

    def _draws_and_log_prob(
        self, name: str, sample_shape: int | Sequence[int], context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        self._require_continuous(f"{name}_and_log_prob")
        own = self._embedded(context)
        z, own = self._draws(getattr(self.base, name), sample_shape, own)
        x, log_det = self._decoded(z, own)
        return x, self._base_log_prob(z, own) - log_det

    def _require_continuous(self, name: str) -> None:
        if self.dequantize is not None:
            raise TypeError(f"{name}: the flow's data are discrete; use sample")

    def _draws(
        self,
        draw: Callable[..., Tensor],
        sample_shape: int | Sequence[int],
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Latents (*batch, *sample_shape, d), and the context (*batch, 1, ..., c) beside them."""
        shape = as_shape(sample_shape)
        if context is None:
            return draw(shape), None
        batch = context.shape[:-1]
        if contexts.features_of(self.base):
            z = draw(shape, context)
        else:
            z = draw(torch.Size((*batch, *shape)))
        return z, context.reshape(*batch, *[1] * len(shape), context.shape[-1])

    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        t: Tensor | float,
        path: str | Path | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Data on the latent path from a to b.

        Args:
            a: data (*batch, *event_shape), where the path starts.
            b: data of the same shape, where it ends.
            t: a number or 0-d -> (*batch, *event_shape), (T,) -> (*batch, T, *event_shape).
            path: a name of :mod:`flowkernels.interpolation`, a function
                path(a, b, t) of latents, or None for the base's default: the arc
                on the sphere for a vMF base, norm-corrected for a Gaussian.
            context: of the two ends, in the batch of a and b; the same for all t.

        Example:
            >>> from flowkernels.flows import realnvp
            >>> flow = realnvp(3, layers=2, hidden=8)
            >>> a, b = torch.randn(2, 5, 3)
            >>> flow.interpolate(a, b, torch.linspace(0, 1, 7)).shape
            torch.Size([5, 7, 3])
        """
        own = self._embedded(context)
        z = self._latent_path(a, b, t, path, own)
        if own is not None and z.ndim > a.ndim - len(self.event_shape) + len(self.latent_shape):
            own = own.unsqueeze(-2)
        return self._decoded(z, own)[0]

    def latent_path(
        self,
        a: Tensor,
        b: Tensor,
        t: Tensor | float,
        path: str | Path | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """The latents that :meth:`interpolate` decodes, (*batch, d) or (*batch, T, d)."""
        return self._latent_path(a, b, t, path, self._embedded(context))

    def _latent_path(
        self,
        a: Tensor,
        b: Tensor,
        t: Tensor | float,
        path: str | Path | None,
        context: Tensor | None,
    ) -> Tensor:
        arguments.tensor("Flow", "a", a)
        arguments.tensor("Flow", "b", b)
        if a.shape != b.shape:
            raise ValueError(
                f"Flow: a and b must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        if context is None:
            ends = self(a)[0], self(b)[0]
        else:
            ends = self._encode(a, context, False)[0], self._encode(b, context, False)[0]
        if callable(path):
            return path(*ends, t)
        if contexts.features_of(self.base):
            return self.base.path(*ends, t, path, context)  # type: ignore[call-arg]
        return self.base.path(*ends, t, path)

    def _embedded(self, context: Tensor | None) -> Tensor | None:
        """The features (*batch, c) of raw contexts (*batch, *context_shape)."""
        if not self.context_features:
            if context is not None:
                raise context_of.needless("context", context)
            return None
        return context_of.embed(
            context,
            self.context_shape,
            self.context_features,
            self.embedding,
            *self._dtype_and_device(),
        )

    def _decoded(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """`inverse` at features; without them `inverse` itself, which a subclass may define."""
        return self.inverse(z) if context is None else self._decode(z, context)

    def _base_log_prob(self, z: Tensor, context: Tensor | None) -> Tensor:
        if context is not None and contexts.features_of(self.base):
            return self.base.log_prob(z, context)
        return self.base.log_prob(z)

    def _encode(self, x: Tensor, context: Tensor | None, noise: bool) -> tuple[Tensor, Tensor]:
        rows, batch = context_of.split("x", x, self.event_shape)
        dtype, device = self._dtype_and_device()
        if device not in (None, x.device):
            raise ValueError(f"Flow: x must be on the flow's device {device}, got {x.device}")
        own = None if context is None else context_of.of_rows(context, "x", batch)
        if self.dequantize is None:
            if rows.dtype != dtype and not autocasts(x.device.type):
                raise TypeError(
                    f"Flow: x must have the flow's dtype {dtype}, got {x.dtype}; "
                    "convert it, or the flow with flow.to(dtype)"
                )
            z, log_det = contexts.forward(self.bijection, rows, own)
        else:
            spread = self.dequantize if noise else self.dequantize.centre
            rows, first = spread(rows)
            z, log_det = contexts.forward(self.bijection, rows.to(dtype), own)
            log_det = first + log_det
        return z.reshape(*batch, *self.latent_shape), log_det.reshape(batch)

    def extra_repr(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        context = f", context_shape={tuple(self.context_shape)}" if self.context_features else ""
        return (
            f"event_shape={tuple(self.event_shape)}{context}, parameters={count:_}, "
            f"dtype={self.dtype}"
        )

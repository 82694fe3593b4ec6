"""A normalizing flow: a bijection and a base distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.bases import Base
from flowkernels.bases.base import as_shape
from flowkernels.bijections import Bijection, Compose, Dequantize, GlowSteps
from flowkernels.interpolation import Path
from flowkernels.precision import autocasts

CPU = torch.device("cpu")


class Flow(nn.Module):
    """A density on data by change of variables: log p(x) = log p_base(f(x)) + log|det f'(x)|.

    Data has shape (*batch, *event_shape), any batch shape. With `dequantize`
    the data are discrete levels (8-bit images): ``log_prob`` is then the
    one-sample uniform-dequantisation bound on the log probability of the image,
    ``forward`` encodes the centres of the bins and is deterministic, and
    ``inverse`` and ``sample`` return levels.

    Args:
        bijection: data to latent.
        base: distribution of the latent.
        event_shape: of the data; default the base's.
        dequantize: applied before the bijection, for discrete data.
        recompute: recompute the activations of a chain of layers from its output instead of
            storing them: memory for one layer, for any number of layers, at about a third
            more time. First-order gradients only.

    Example:
        >>> from flowkernels.flows import glow
        >>> flow = glow((1, 8, 8), levels=2, steps=2, hidden=8, base="normal")
        >>> x = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.log_prob(x).shape
        torch.Size([4])
        >>> z, log_det = flow(x)
        >>> bool((flow.inverse(z)[0] == x).all())
        True
    """

    def __init__(
        self,
        bijection: Bijection,
        base: Base,
        *,
        event_shape: Sequence[int] | None = None,
        dequantize: Dequantize | None = None,
        recompute: bool = False,
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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log|det dz/dx|): latents (*batch, d) of data (*batch, *event_shape)."""
        return self._encode(x, noise=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dz|): data (*batch, *event_shape) of latents (*batch, d)."""
        rows, batch = self._rows("z", z, self.latent_shape)
        x, log_det = self.bijection.inverse(rows)
        if self.dequantize is not None:
            x, rest = self.dequantize.inverse(x)
            log_det = log_det + rest
        return x.reshape(*batch, *self.event_shape), log_det.reshape(batch)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of x (*batch, *event_shape), in nats, shape (*batch).

        For discrete data, of the levels; see the class.
        """
        z, log_det = self._encode(x, noise=True)
        return self.base.log_prob(z) + log_det

    def bits_per_dim(self, x: Tensor) -> Tensor:
        """-log_prob(x) / (D log 2), D values per datum, shape (*batch)."""
        return self.log_prob(x) / (-math.log(2) * self.event_shape.numel())

    @torch.no_grad()
    def sample(self, sample_shape: int | Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *event_shape), or (n, *event_shape) for a number n."""
        return self.inverse(self.base.sample(as_shape(sample_shape)))[0]

    def rsample_and_log_prob(self, sample_shape: int | Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Reparametrised draws and their log density, with one pass through the flow.

        Raises:
            TypeError: the flow's data are discrete.
        """
        if self.dequantize is not None:
            raise TypeError("rsample_and_log_prob: the flow's data are discrete; use sample")
        z = self.base.rsample(as_shape(sample_shape))
        x, log_det = self.inverse(z)
        return x, self.base.log_prob(z) - log_det

    def interpolate(
        self, a: Tensor, b: Tensor, t: Tensor | float, path: str | Path | None = None
    ) -> Tensor:
        """Data on the latent path from a to b.

        Args:
            a: data (*batch, *event_shape), where the path starts.
            b: data of the same shape, where it ends.
            t: a number or 0-d -> (*batch, *event_shape), (T,) -> (*batch, T, *event_shape).
            path: a name of :mod:`flowkernels.interpolation`, a function
                path(a, b, t) of latents, or None for the base's default: the arc
                on the sphere for a vMF base, norm-corrected for a Gaussian.

        Example:
            >>> from flowkernels.flows import realnvp
            >>> flow = realnvp(3, layers=2, hidden=8)
            >>> a, b = torch.randn(2, 5, 3)
            >>> flow.interpolate(a, b, torch.linspace(0, 1, 7)).shape
            torch.Size([5, 7, 3])
        """
        return self.inverse(self.latent_path(a, b, t, path))[0]

    def latent_path(
        self, a: Tensor, b: Tensor, t: Tensor | float, path: str | Path | None = None
    ) -> Tensor:
        """The latents that :meth:`interpolate` decodes, (*batch, d) or (*batch, T, d)."""
        arguments.tensor("Flow", "a", a)
        arguments.tensor("Flow", "b", b)
        if a.shape != b.shape:
            raise ValueError(
                f"Flow: a and b must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        ends = self(a)[0], self(b)[0]
        return path(*ends, t) if callable(path) else self.base.path(*ends, t, path)

    def _encode(self, x: Tensor, noise: bool) -> tuple[Tensor, Tensor]:
        rows, batch = self._rows("x", x, self.event_shape)
        dtype, device = self._dtype_and_device()
        if device not in (None, x.device):
            raise ValueError(f"Flow: x must be on the flow's device {device}, got {x.device}")
        if self.dequantize is None:
            if rows.dtype != dtype and not autocasts(x.device.type):
                raise TypeError(
                    f"Flow: x must have the flow's dtype {dtype}, got {x.dtype}; "
                    "convert it, or the flow with flow.to(dtype)"
                )
            z, log_det = self.bijection(rows)
        else:
            spread = self.dequantize if noise else self.dequantize.centre
            rows, first = spread(rows)
            z, log_det = self.bijection(rows.to(dtype))
            log_det = first + log_det
        return z.reshape(*batch, *self.latent_shape), log_det.reshape(batch)

    @staticmethod
    def _rows(name: str, x: Tensor, event_shape: torch.Size) -> tuple[Tensor, torch.Size]:
        """X with one batch dimension, and its original batch shape."""
        arguments.tensor("Flow", name, x)
        split = x.ndim - len(event_shape)
        if split < 0 or x.shape[split:] != event_shape:
            expected = ", ".join(map(str, event_shape))
            raise ValueError(
                f"Flow: {name} must have shape (*batch, {expected}), got {tuple(x.shape)}"
            )
        return x.reshape(-1, *event_shape), x.shape[:split]

    def extra_repr(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return f"event_shape={tuple(self.event_shape)}, parameters={count:_}, dtype={self.dtype}"

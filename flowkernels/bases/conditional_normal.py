"""A Gaussian base whose mean and scale depend on a context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from flowkernels import arguments
from flowkernels.bijections import mlp_conditioner
from flowkernels.interpolation import path_names

from .base import Base

__all__ = ["ConditionalNormal"]


class ConditionalNormal(Base):
    """N(loc(c), diag(scale(c)^2)) on R^d, [loc, log scale] a network of the context c.

    log p(z | c) = -sum_i [e_i^2 / 2 + log scale_i] - d log(2 pi) / 2, e = (z - loc) / scale.
    The network is linear without hidden layers; its last layer starts at zero, and the base at
    N(0, I). A path between two latents is that between their e.

    Args:
        dim: d.
        context: features of the context.
        hidden: widths of the network's hidden layers.
        default_path: path of ``interpolate``, a name of :mod:`flowkernels.interpolation`.

    Shapes:
        z (*batch, d), context (*batch, features); the batch shapes broadcast.

    Raises:
        ValueError: an argument is out of its range, or z or the context has the wrong shape.

    Example:
        >>> base = ConditionalNormal(2, 3, hidden=(16,))
        >>> context = torch.randn(5, 3)
        >>> z = base.sample(7, context)
        >>> z.shape, base.log_prob(z, context[:, None]).shape
        (torch.Size([5, 7, 2]), torch.Size([5, 7]))
    """

    def __init__(
        self,
        dim: int,
        context: int,
        *,
        hidden: Sequence[int] = (),
        default_path: str = "norm_corrected",
    ) -> None:
        super().__init__(dim, default_path)
        owner = type(self).__name__
        arguments.choice(owner, "default_path", default_path, path_names())
        self.context_features = arguments.integer(owner, "context", context)
        hidden = arguments.widths(owner, "hidden", hidden)
        self.network = mlp_conditioner(context, 2 * dim, hidden)

    def loc_and_log_scale(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the logarithms of the scales (*batch, d) at a context (*batch, features)."""
        self._check_context(context)
        out = self.network(context.reshape(-1, self.context_features))
        loc, log_scale = out.reshape(*context.shape[:-1], 2 * self.dim).chunk(2, -1)
        return loc, log_scale

    def _log_prob(self, z: Tensor, context: Tensor) -> Tensor:  # type: ignore[override]
        dtype = torch.promote_types(z.dtype, torch.float32)
        loc, log_scale = (each.to(dtype) for each in self.loc_and_log_scale(context))
        e = (z.to(dtype) - loc) * (-log_scale).exp()
        constant = 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * e.square().sum(-1) - log_scale.sum(-1) - constant

    def rsample(self, sample_shape: Sequence[int] = (), context: Tensor | None = None) -> Tensor:
        """Reparametrised draws (*batch, *sample_shape, d) at a context (*batch, features)."""
        self._check_context(context)
        assert context is not None
        own = context.reshape(*context.shape[:-1], *[1] * len(sample_shape), context.shape[-1])
        loc, log_scale = self.loc_and_log_scale(own)
        dtype = next(self.network.parameters()).dtype
        shape = (*context.shape[:-1], *sample_shape, self.dim)
        e = torch.randn(shape, dtype=dtype, device=context.device)
        return e * log_scale.to(dtype).exp() + loc.to(dtype)

    def path(
        self,
        a: Tensor,
        b: Tensor,
        t: Tensor | float,
        name: str | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """The path between the standardised a and b; `name` as in :meth:`Base.path`."""
        self._check_context(context)
        assert context is not None
        loc, log_scale = (each.to(a.dtype) for each in self.loc_and_log_scale(context))
        scale = log_scale.exp()
        path = super().path((a - loc) / scale, (b - loc) / scale, t, name)
        if path.ndim > a.ndim:
            loc, scale = loc.unsqueeze(-2), scale.unsqueeze(-2)
        return path * scale + loc

    def as_distribution(self, context: Tensor | None = None) -> Distribution:  # type: ignore[override]
        """The Gaussian at a context (*batch, features): batch (*batch), event (d,)."""
        self._check_context(context)
        assert context is not None
        loc, log_scale = self.loc_and_log_scale(context)
        return Independent(Normal(loc, log_scale.exp()), 1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, context_features={self.context_features}"

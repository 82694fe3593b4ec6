"""Couplings as transforms of torch.distributions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flowkernels.bijections import AffineCoupling, SplineCoupling
from flowkernels.ops.affine_coupling import Layout, Order, ScaleFn, Transform

from .bijection import BijectionTransform

__all__ = ["AffineCouplingTransform", "SplineCouplingTransform"]


class AffineCouplingTransform(BijectionTransform):
    r"""An affine coupling: part of the channels is scaled and shifted, given the others.

    With x = (a, b): y = (a, b s(a) + t(a)), log-det sum log s(a), in one fused op; a network gives
    shift and raw scale.

    Args:
        conditioner, transform, scale_fn, bound, layout, order: of
            :class:`flowkernels.bijections.AffineCoupling`.
        event_dim: 1 for vectors (\*batch, C), 3 for images (\*batch, C, H, W).
        context: (\*batch, c), if the conditioner reads one.
        cache_size: 0 or 1, see :class:`FusedTransform`.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Source: Dinh et al., Density estimation using Real NVP (arXiv 1605.08803), eq. 7-8.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal, TransformedDistribution
        >>> from flowkernels.bijections import mlp_conditioner
        >>> base = Independent(Normal(torch.zeros(6), torch.ones(6)), 1)
        >>> layers = nn.ModuleList(
        ...     AffineCouplingTransform(mlp_conditioner(3, 2 * 3), transform=part)
        ...     for part in ("first", "second")
        ... )
        >>> flow = TransformedDistribution(base, list(layers))
        >>> flow.log_prob(torch.randn(10, 6)).shape, len(list(layers.parameters()))
        (torch.Size([10]), 12)
    """

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        transform: Transform = "second",
        scale_fn: ScaleFn = "tanh",
        bound: float = 2.0,
        layout: Layout = "shift_scale",
        order: Order = "scale_then_shift",
        event_dim: int = 1,
        context: Tensor | None = None,
        cache_size: int = 0,
    ) -> None:
        coupling = AffineCoupling(
            conditioner, transform=transform, scale_fn=scale_fn, bound=bound, layout=layout,
            order=order,
        )  # fmt: skip
        super().__init__(
            coupling, direction="to_latent", context=context, event_dim=event_dim,
            cache_size=cache_size,
        )  # fmt: skip


class SplineCouplingTransform(BijectionTransform):
    r"""A coupling by rational-quadratic splines, whose parameters a network of the rest gives.

    Args:
        conditioner, transform: of :class:`flowkernels.bijections.SplineCoupling`.
        event_dim: 1 for vectors (\*batch, C), 3 for images (\*batch, C, H, W).
        context: (\*batch, c), if the conditioner reads one.
        cache_size: 0 or 1, see :class:`FusedTransform`.
        **splines: bins, bound, boundary, min_width, min_height, min_derivative, convention and
            scale, see :func:`flowkernels.ops.rational_quadratic_spline`.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Source: Durkan et al., Neural Spline Flows (arXiv 1906.04032), section 3.

    Example:
        >>> import torch
        >>> from flowkernels.bijections import mlp_conditioner
        >>> transform = SplineCouplingTransform(mlp_conditioner(3, 3 * 11), bins=4)
        >>> x = torch.randn(5, 6)
        >>> y = transform(x)
        >>> transform.log_abs_det_jacobian(x, y).shape
        torch.Size([5])
    """

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        transform: Transform = "second",
        event_dim: int = 1,
        context: Tensor | None = None,
        cache_size: int = 0,
        **splines: Any,
    ) -> None:
        coupling = SplineCoupling(conditioner, transform=transform, **splines)
        super().__init__(
            coupling, direction="to_latent", context=context, event_dim=event_dim,
            cache_size=cache_size,
        )  # fmt: skip

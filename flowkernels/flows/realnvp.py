"""RealNVP flows for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.distributions import Distribution

from flowkernels import arguments
from flowkernels.bases import Base, make_base
from flowkernels.bijections import ActNorm, AffineCoupling, Bijection, Compose, mlp_conditioner
from flowkernels.ops.affine_coupling import Transform

from .flow import Flow


def realnvp(
    dim: int,
    *,
    layers: int = 16,
    hidden: int | Sequence[int] = 64,
    base: str | Base | Distribution = "normal",
    concentration_scale: float = 1.0,
    actnorm: bool = True,
    recompute: bool = False,
    context: int = 0,
    embedding: nn.Module | None = None,
    context_shape: Sequence[int] | None = None,
    **coupling: Any,
) -> Flow:
    """Affine couplings on R^dim that alternate the coupled coordinates (Dinh et al. 2017).

    Args:
        dim: at least 2.
        layers: number of couplings.
        hidden: widths of the coupling networks' hidden layers; a number n means (n, n).
        base: a name of :func:`flowkernels.bases.base_names` such as ``"vmf"``, or a base module
            or torch distribution on R^dim.
        concentration_scale: c: for the bases on the sphere, concentration k = c dim; for
            Dirichlet bases, c of each coordinate.
        actnorm: start with an ActNorm, which standardises the data from the
            first training batch.
        recompute: store no activations for the backward pass, see :class:`Flow`.
        context: features c of a context that every coupling reads, 0 for none: p(x | context).
        embedding, context_shape: of raw contexts, see :class:`Flow`.
        **coupling: scale_fn, bound, layout and order, see
            :func:`flowkernels.ops.affine_coupling`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import torch
        >>> flow = realnvp(6, layers=4, hidden=16)
        >>> flow.log_prob(torch.randn(10, 6)).shape
        torch.Size([10])
        >>> flow = realnvp(6, layers=4, hidden=16, context=3)
        >>> context = torch.randn(10, 3)
        >>> flow.log_prob(torch.randn(10, 6), context).shape
        torch.Size([10])
        >>> flow.sample(100, context).shape  # a hundred for each context
        torch.Size([10, 100, 6])
    """
    widths = arguments.widths("realnvp", "hidden", hidden, repeats=2)
    arguments.integer("realnvp", "dim", dim, 2, "a coupling splits it in two")
    arguments.integer("realnvp", "layers", layers)
    arguments.integer("realnvp", "context", context, 0)
    arguments.flag("realnvp", "actnorm", actnorm)
    chain: list[Bijection] = [ActNorm(dim)] if actnorm else []
    for i in range(layers):
        transform: Transform = "first" if i % 2 else "second"
        coupled = dim // 2 if i % 2 else dim - dim // 2
        conditioner = mlp_conditioner(dim - coupled, 2 * coupled, widths, context=context)
        chain.append(AffineCoupling(conditioner, transform=transform, **coupling))
    return Flow(
        Compose(chain),
        make_base(base, dim, concentration_scale),
        recompute=recompute,
        embedding=embedding,
        context_shape=context_shape,
    )

"""Neural spline flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn
from torch.distributions import Distribution

from flowkernels import arguments
from flowkernels.bases import Base, make_base
from flowkernels.bijections import (
    ActNorm,
    Bijection,
    Compose,
    LULinear,
    Permutation,
    SplineCoupling,
    mlp_conditioner,
    start_as_identity,
)
from flowkernels.ops.affine_coupling import Transform
from flowkernels.ops.rational_quadratic_spline import CHOICES, parameter_count

from .flow import Flow

Mixing = Literal["lu", "permutation", "none"]


def nsf(
    dim: int,
    *,
    layers: int = 5,
    hidden: int | Sequence[int] = 64,
    bins: int = 8,
    bound: float = 3.0,
    mixing: Mixing = "lu",
    seed: int = 0,
    base: str | Base | Distribution = "normal",
    concentration_scale: float = 1.0,
    actnorm: bool = True,
    recompute: bool = False,
    context: int = 0,
    embedding: nn.Module | None = None,
    context_shape: Sequence[int] | None = None,
    **spline: Any,
) -> Flow:
    """A neural spline flow on R^dim with couplings (Durkan et al. 2019, arXiv 1906.04032).

    Each layer maps one half of the coordinates by rational-quadratic splines whose parameters a
    ReLU network gives of the other half; layers alternate the halves. A new flow is the identity
    but for the permutations. For splines that are autoregressive see :func:`maf`.

    Args:
        dim: at least 2.
        layers: number of couplings.
        hidden: widths of the networks' hidden layers; a number n means (n, n).
        bins: of each spline.
        bound: splines map [-bound, bound] to itself and are the identity outside; the ActNorm at
            the start makes most data lie inside.
        mixing: in front of each coupling: ``"lu"``, a random permutation and a linear layer in LU
            form, as in the paper; ``"permutation"``, a random one alone; or ``"none"``.
        seed: of the permutations.
        base: a name of :func:`flowkernels.bases.base_names` such as ``"vmf"``, or a base module
            or torch distribution on R^dim.
        concentration_scale: c: for the bases on the sphere, concentration k = c dim; for
            Dirichlet bases, c of each coordinate.
        actnorm: start with an ActNorm, which standardises the data from the
            first training batch.
        recompute: store no activations for the backward pass, see :class:`Flow`.
        context: features c of a context that every coupling reads, 0 for none: p(x | context).
        embedding, context_shape: of raw contexts, see :class:`Flow`.
        **spline: boundary, min_width, min_height, min_derivative, convention and scale, see
            :func:`flowkernels.ops.rational_quadratic_spline`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import torch
        >>> flow = nsf(6, layers=3, hidden=16, context=2)
        >>> x, context = torch.randn(10, 6), torch.randn(10, 2)
        >>> flow.log_prob(x, context).shape, flow.sample(7, context).shape
        (torch.Size([10]), torch.Size([10, 7, 6]))
    """
    widths = arguments.widths("nsf", "hidden", hidden, repeats=2)
    arguments.integer("nsf", "dim", dim, 2, "a coupling splits it in two")
    arguments.integer("nsf", "layers", layers)
    arguments.integer("nsf", "bins", bins)
    arguments.integer("nsf", "seed", seed, 0)
    arguments.integer("nsf", "context", context, 0)
    arguments.choice("nsf", "mixing", mixing, get_args(Mixing))
    arguments.flag("nsf", "actnorm", actnorm)
    boundary = spline.get("boundary", "linear")
    arguments.choice("nsf", "boundary", boundary, CHOICES["boundary"])
    parts = parameter_count(bins, boundary)
    chain: list[Bijection] = [ActNorm(dim)] if actnorm else []
    for i in range(layers):
        if mixing != "none":
            chain.append(Permutation.random(dim, seed=seed + i))
        if mixing == "lu":
            chain.append(LULinear(dim))
        transform: Transform = "first" if i % 2 else "second"
        coupled = dim // 2 if i % 2 else dim - dim // 2
        network = mlp_conditioner(dim - coupled, parts * coupled, widths, context=context)
        coupling = SplineCoupling(network, transform=transform, bins=bins, bound=bound, **spline)
        last = network[-1]
        assert isinstance(last, nn.Linear)
        assert last.bias is not None
        start_as_identity(last.bias, coupling)
        chain.append(coupling)
    return Flow(
        Compose(chain),
        make_base(base, dim, concentration_scale),
        recompute=recompute,
        embedding=embedding,
        context_shape=context_shape,
    )

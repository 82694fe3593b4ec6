"""Masked autoregressive flows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn
from torch.distributions import Distribution

from flowkernels import arguments
from flowkernels.bases import Base, make_base
from flowkernels.bijections import (
    ActNorm,
    AffineAutoregressive,
    Bijection,
    Compose,
    MaskedNetwork,
    SplineAutoregressive,
    start_as_identity,
)
from flowkernels.ops.rational_quadratic_spline import CHOICES, parameter_count

from .flow import Flow

AutoregressiveTransform = Literal["affine", "spline"]
InputOrder = Literal["alternating", "random"]


def maf(
    dim: int,
    *,
    layers: int = 5,
    hidden: int | Sequence[int] = 64,
    transform: AutoregressiveTransform = "affine",
    input_order: InputOrder = "alternating",
    seed: int = 0,
    base: str | Base | Distribution = "normal",
    concentration_scale: float = 1.0,
    actnorm: bool = True,
    context: int = 0,
    embedding: nn.Module | None = None,
    context_shape: Sequence[int] | None = None,
    **options: Any,
) -> Flow:
    """A masked autoregressive flow on R^dim (Papamakarios et al. 2017, arXiv 1705.07057).

    ``log_prob`` evaluates each layer's network once; sampling is sequential in the features.

    Args:
        dim: at least 1.
        layers: number of autoregressive layers.
        hidden: widths of the networks' hidden layers; a number n means (n, n).
        transform: of each feature given those before it: ``"affine"``, or ``"spline"``, a
            rational-quadratic spline (Durkan et al. 2019, arXiv 1906.04032). A new flow of either
            is the identity but for the ActNorm.
        input_order: in which order the layers take the features: ``"alternating"``, first to
            last, then last to first; or ``"random"``, an order of its own for each layer.
        seed: of the random orders.
        base: a name of :func:`flowkernels.bases.base_names` such as ``"vmf"``, or a base module
            or torch distribution on R^dim.
        concentration_scale: c: for the bases on the sphere, concentration k = c dim; for
            Dirichlet bases, c of each coordinate.
        actnorm: start with an ActNorm, which standardises the data from the
            first training batch.
        context: features c of a context that every layer reads, 0 for none: p(x | context).
        embedding, context_shape: of raw contexts, see :class:`Flow`.
        **options: of the transform: scale_fn, bound and order, see
            :class:`flowkernels.bijections.AffineAutoregressive`; or bins, bound, boundary,
            min_width, min_height, min_derivative, convention and scale, see
            :class:`flowkernels.bijections.SplineAutoregressive`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import torch
        >>> flow = maf(6, layers=3, hidden=16)
        >>> flow.log_prob(torch.randn(10, 6)).shape
        torch.Size([10])
        >>> flow.sample(5).shape
        torch.Size([5, 6])
        >>> flow = maf(6, layers=3, hidden=16, transform="spline", context=3)
        >>> flow.sample(100, torch.randn(10, 3)).shape  # a hundred for each context
        torch.Size([10, 100, 6])
    """
    widths = arguments.widths("maf", "hidden", hidden, repeats=2)
    arguments.integer("maf", "dim", dim)
    arguments.integer("maf", "layers", layers)
    arguments.choice("maf", "transform", transform, get_args(AutoregressiveTransform))
    arguments.choice("maf", "input_order", input_order, get_args(InputOrder))
    arguments.integer("maf", "seed", seed, 0)
    arguments.flag("maf", "actnorm", actnorm)
    arguments.integer("maf", "context", context, 0)
    chain: list[Bijection] = [ActNorm(dim)] if actnorm else []
    generator = random.Random(seed)
    order = list(range(dim))
    for _ in range(layers):
        if input_order == "random":
            generator.shuffle(order)
        chain.append(_layer(dim, widths, context, order, transform, options))
        if input_order == "alternating":
            order.reverse()
    return Flow(
        Compose(chain),
        make_base(base, dim, concentration_scale),
        embedding=embedding,
        context_shape=context_shape,
    )


def _layer(
    dim: int,
    widths: Sequence[int],
    context: int,
    order: Sequence[int],
    transform: AutoregressiveTransform,
    options: dict[str, Any],
) -> Bijection:
    if transform == "affine":
        network = MaskedNetwork(dim, 2, widths, context=context, input_order=order)
        return AffineAutoregressive(network, **options)
    bins, boundary = options.get("bins", 8), options.get("boundary", "linear")
    arguments.integer("maf", "bins", bins)
    arguments.choice("maf", "boundary", boundary, CHOICES["boundary"])
    parts = parameter_count(bins, boundary)
    network = MaskedNetwork(dim, parts, widths, context=context, input_order=order, grouped=True)
    layer = SplineAutoregressive(network, **options)
    start_as_identity(network.masked_layers()[1][-1], layer)
    return layer

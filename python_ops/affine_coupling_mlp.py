"""Affine coupling together with the network that conditions it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._declaration import Inputs, as_keywords, declare, public
from ._mlp_compiled import has_kernels
from .affine_coupling import affine_coupling_split
from .composite import affine_coupling_mlp as formulas
from .composite.affine_coupling import Layout, Order, ScaleFn, Transform
from .composite.mlp import Activation
from .identity_split import identity_split
from .mlp import mlp, network, with_lists


def _formula(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], *options: Any
) -> tuple[Tensor, Tensor]:
    return formulas.affine_coupling_mlp(
        x, weights, biases, **as_keywords("affine_coupling_mlp", options)
    )


_affine_coupling_mlp = declare("affine_coupling_mlp", formula=_formula)


def _is_compiled(x: Any, weights: Any, biases: Any, transform: str, *network: Any) -> bool:
    """Whether a compiler is tracing, and the network has kernels that its graph can call."""
    if not torch.compiler.is_compiling() or not weights:
        return False
    last = weights[-1]
    coupled = last.shape[0] // 2 if isinstance(last, Tensor) and last.ndim == 2 else 0
    alternates = transform in ("even", "odd")
    return (
        has_kernels(x, weights, biases, network, coupled)
        and last.shape[0] == 2 * coupled
        and (not alternates or coupled == (x.shape[1] + (transform == "even")) // 2)
    )


def _layer(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    x, *layers = network(size)
    return torch.cat([x, torch.randn_like(x)], 1), *layers


@public(
    "affine_coupling_mlp",
    "affine_coupling",
    usage="affine_coupling_mlp(x, weights, biases)",
    same="`a, _ = identity_split(x, k); affine_coupling_split(x, mlp(a, weights, biases))`",
    inputs=Inputs(tensors=_layer, arguments=with_lists, sizes="networks", dtypes=("float32",)),
    on_gpu="torch's matrix products and the kernels of affine_coupling",
    bijection=True,
)
def affine_coupling_mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    transform: Transform = "second",
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
    activation: Activation = "relu",
    negative_slope: float = 0.01,
    residual: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""A whole layer of a RealNVP: network, coupling and log-det as one node of the graph.

    .. math:: (x_1, x_2) \mapsto (x_1,\; x_2 \odot s(h) + t(h)), \qquad h = \text{mlp}(x_1)

    for ``transform="second"``, and for the other transforms with their channels. Equals
    `identity_split`, `mlp` and `affine_coupling_split` one after another, which is what runs
    under torch.compile, autocast and the transforms of torch.func.

    Args:
        x: (B, C), float16, bfloat16, float32 or float64.
        weights: matrices (out, in) of the network's layers, from C - k features to 2 k.
        biases: vectors (out,), one for each.
        transform: which channels, k of them, are coupled, as in `affine_coupling_split`.
        scale_fn, bound, gain, layout, order, inverse: as in `affine_coupling`.
        activation, negative_slope, residual: of the network, as in `mlp`.

    Returns:
        y (B, C), contiguous; log_det (B,) in nats, float32 for inputs below float64.

    Raises:
        ValueError, TypeError: as `mlp` and `affine_coupling`.

    Source: Dinh et al. (arXiv 1605.08803), eq. 4-8.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x, weight, bias = torch.randn(5, 6), torch.randn(6, 3), torch.randn(6)
        >>> y, log_det = ops.affine_coupling_mlp(x, [weight], [bias])
        >>> back, _ = ops.affine_coupling_mlp(y, [weight], [bias], inverse=True)
        >>> torch.allclose(back, x, atol=1e-5), log_det.shape
        (True, torch.Size([5]))
    """
    if _is_compiled(x, weights, biases, transform, activation, negative_slope, residual):
        kept, x = identity_split(x, weights[-1].shape[0] // 2, transform=transform)
        params = mlp(
            kept, weights, biases, activation=activation, negative_slope=negative_slope,
            residual=residual,
        )  # fmt: skip
        return affine_coupling_split(
            x, params, transform=transform, scale_fn=scale_fn, bound=bound, gain=gain,
            layout=layout, order=order, inverse=inverse,
        )  # fmt: skip
    out: tuple[Tensor, Tensor] = _affine_coupling_mlp(
        x, weights, biases, scale_fn, bound, gain, layout, order, inverse, transform,
        activation, negative_slope, residual,
    )  # fmt: skip
    return out

"""A multilayer perceptron, the conditioner of most flows of vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._declaration import Inputs, as_keywords, declare, public
from ._mlp_compiled import has_kernels
from .composite import mlp as formulas
from .composite.mlp import Activation as Activation


def _formula(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], *options: Any
) -> Tensor:
    return formulas.mlp(x, weights, biases, **as_keywords("mlp", options))


_mlp = declare("mlp", formula=_formula)


def network(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    """x and the layers of couplings of 6 dimensions, for (rows, units of a hidden layer)."""
    rows, hidden = size
    layers = []
    for width_in, width_out in itertools.pairwise((3, hidden, hidden, 6)):
        weight = torch.randn((width_out, width_in), dtype=torch.float64) / width_in**0.5
        layers += [weight, torch.randn(width_out, dtype=torch.float64)]
    return torch.randn((rows, 3), dtype=torch.float64), *layers


def with_lists(tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """x, weights and biases."""
    return tensors[0], tensors[1::2], tensors[2::2]


@public(
    "mlp",
    usage="mlp(x, weights, biases)",
    same=(
        "`for w, b in zip(weights[:-1], biases[:-1]): x = relu(linear(x, w, b))`, then "
        "`linear(x, weights[-1], biases[-1])`"
    ),
    inputs=Inputs(tensors=network, arguments=with_lists, sizes="networks", dtypes=("float32",)),
    on_gpu="torch's matrix products",
)
def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    activation: Activation = "relu",
    negative_slope: float = 0.01,
    residual: bool = False,
) -> Tensor:
    r"""A multilayer perceptron, as one node of the graph.

    .. math:: h_0 = W_0 x + b_0, \quad h_i = W_i\, a(h_{i-1}) + b_i, \quad y = h_{n-1}

    or, with `residual`, pairs of layers between the first and the last, which read and add to h:

    .. math:: h \leftarrow h + W_{i+1}\, a(W_i\, a(h) + b_i) + b_{i+1}, \quad
        y = W_{n-1} h + b_{n-1}

    In the small networks of flows, matrix products take less time than what surrounds them: Python,
    dispatch, a graph node for each layer and a pass over memory for each activation. This op saves
    the latter. Networks of at most 128 units a layer have CPU kernels of their own; wider networks,
    and other devices, use torch's products. Graphs of torch.compile call these kernels;
    in exported programs, under autocast and in the transforms of torch.func it is the same
    sequence of torch's linear layers. The last bits of
    torch's products, and so those of wide networks, may depend on the number of threads.

    Args:
        x: (\*batch, features), float16, bfloat16, float32 or float64.
        weights: n matrices (out, in), each `in` the `out` of the one before.
        biases: n vectors (out,).
        activation: a: ``relu``, ``leaky_relu``, ``elu`` (e^h - 1 below 0) or ``tanh``.
        negative_slope: of leaky_relu below 0; above 0, at most 1.
        residual: whether the layers between the first and the last are residual blocks of two
            (He et al., arXiv 1603.05027, fig. 4e, without normalization; as nflows' ResidualNet).

    Returns:
        y (\*batch, out of the last layer), of x's dtype (under autocast of autocast's).

    Raises:
        ValueError: where shapes, devices or options do not fit together.
        TypeError: where dtypes differ outside autocast, or are not floating.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> first, last = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0, 1.0]])
        >>> x = torch.tensor([[-2.0], [3.0]])
        >>> ops.mlp(x, [first, last], [torch.zeros(2), torch.zeros(1)])  # |x|
        tensor([[2.],
                [3.]])
    """
    options = activation, negative_slope, residual
    if has_kernels(x, weights, biases, options):
        out: Tensor = torch.ops.flowkernels.mlp_compiled(x, weights, biases, *options)
    else:
        out = _mlp(x, weights, biases, *options)
    return out

"""A ReLU network, the conditioner of most flows of vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public
from .composite import mlp as formulas

_mlp = declare("mlp", formula=formulas.mlp)


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
def mlp(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    r"""A multilayer perceptron with ReLUs between its layers, as one node of the graph.

    .. math:: h_0 = x, \quad h_i = \max(0, W_i h_{i-1} + b_i), \quad y = W_n h_{n-1} + b_n

    The matrix products are torch's own, on every device. For the small networks of flows most
    of a training step lies between them: Python, dispatch, a graph node per layer and a pass
    over memory per ReLU, all of which this op saves. Under torch.compile, autocast and the
    transforms of torch.func it is the same sequence of torch's linear layers. The last bits of
    torch's products, and so those of wide networks, may depend on the number of threads.

    Args:
        x: (\*batch, features), float16, bfloat16, float32 or float64.
        weights: n matrices (out, in), each `in` the `out` of the one before.
        biases: n vectors (out,).

    Returns:
        y (\*batch, out of the last layer), of x's dtype (under autocast of autocast's).

    Raises:
        ValueError: where shapes or devices do not fit together.
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
    out: Tensor = _mlp(x, weights, biases)
    return out

"""A ReLU network, the conditioner of most flows of vectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from . import reference
from ._library import entry

_mlp = entry("mlp", "x", lists=("weights", "biases"), reference=reference.mlp)


def mlp(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    r"""A multilayer perceptron with ReLUs between its layers, as one node of the graph.

    .. math:: h_0 = x, \quad h_i = \max(0, W_i h_{i-1} + b_i), \quad y = W_n h_{n-1} + b_n

    The matrix products are torch's own, on every device. For the small networks of flows most
    of a training step lies between them: Python, dispatch, a graph node per layer and a pass
    over memory per ReLU, all of which this op saves. Under torch.compile, autocast and the
    transforms of torch.func it is the same sequence of torch's linear layers.

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

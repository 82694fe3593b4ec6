"""Masked networks: each output sees only the features before its own.

Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation"
(2015, arXiv 1502.03509), section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from flowkernels import arguments, ops

from . import context as contexts
from .base import check_channels
from .conditioners import joined

__all__ = ["Layers", "MaskedLinear", "MaskedNetwork"]

Layers = tuple[list[Tensor], list[Tensor]]


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are zero: y = (W * mask) x + b.

    The product is taken at each call, so that no optimiser, initialisation or copied weight can
    connect what the mask separates.

    Args:
        mask: (out, in), 1 where an output sees an input, else 0.

    Attributes:
        premasked: whether ``weight`` is such a product already; False, but for a moment where
            someone puts one in its place.

    Example:
        >>> import torch
        >>> layer = MaskedLinear(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        >>> x = torch.randn(3, 2)
        >>> bool((layer(x)[:, 0] == layer.bias[0]).all())
        True
    """

    mask: Tensor
    premasked: bool = False

    def __init__(self, mask: Tensor) -> None:
        arguments.tensor("MaskedLinear", "mask", mask)
        if mask.ndim != 2:
            raise ValueError(
                f"MaskedLinear: mask must have shape (out, in), got {tuple(mask.shape)}"
            )
        super().__init__(mask.shape[1], mask.shape[0])
        # It follows from how the network is built: a checkpoint does not change it.
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def masked_weight(self) -> Tensor:
        """W * mask."""
        return self.weight if self.premasked else self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Maps (*batch, in) to (*batch, out)."""
        return linear(x, self.masked_weight(), self.bias)


class MaskedNetwork(nn.Module):
    """A ReLU network whose outputs for a feature depend on the features before it (MADE).

    Feature ``input_order[k]`` has degree k + 1. A hidden unit of degree m sees the features and
    units of degrees up to m; the outputs of a feature of degree d see the units of degrees below d.
    Hidden degrees go from 1 to C - 1, from 0 with a context, which every unit sees. They are
    spread evenly and sorted, so that the units that see the first m features are the first ones of
    their layer: what a sequential inverse needs for the next feature extends what it has. The last
    layer of a new network is zero.

    Args:
        features: C, at least 1.
        outputs: n, for each feature.
        hidden: widths of the hidden layers.
        context: features c of a context beside the input, 0 for none.
        input_order: the features from the first to the last one; default 0, 1, ..., C - 1.
        grouped: whether the n outputs of a feature lie together (feature d has d n, d n + 1, ...),
            or all first outputs before all second ones (feature d has d, C + d, ...).

    Attributes:
        degrees: of the units of each hidden layer, ascending.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import torch
        >>> network = MaskedNetwork(3, 2, (8, 8))
        >>> network(torch.randn(5, 3)).shape
        torch.Size([5, 6])
        >>> network.degrees[0]
        (1, 1, 1, 1, 2, 2, 2, 2)
    """

    shares_context = True

    def __init__(
        self,
        features: int,
        outputs: int = 2,
        hidden: Sequence[int] = (64, 64),
        *,
        context: int = 0,
        input_order: Sequence[int] | None = None,
        grouped: bool = False,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.features = arguments.integer(owner, "features", features)
        self.outputs = arguments.integer(owner, "outputs", outputs)
        self.hidden = arguments.widths(owner, "hidden", hidden)
        self.context_features = arguments.integer(owner, "context", context, 0)
        self.input_order = _input_order(owner, input_order, self.features)
        self.grouped = arguments.flag(owner, "grouped", grouped)
        first = 0 if self.context_features or self.features == 1 else 1
        self.degrees = tuple(_spread(width, first, self.features - 1) for width in self.hidden)
        masks = self._masks()
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs (B, n C) for x (B, C) and, if one is read, a context (R, c).

        R is a divisor of B; each context is for B / R consecutive rows.
        """
        owner = type(self).__name__
        check_channels(owner, x, self.features)
        if x.ndim != 2:
            raise ValueError(f"{owner}: expected shape (B, {self.features}), got {tuple(x.shape)}")
        contexts.check(owner, context, self.context_features, x)
        weights, biases = self.masked_layers()
        if context is None:
            return ops.mlp(x, weights, biases)
        if context.shape[0] != 1:
            return ops.mlp(joined(x, context), weights, biases)
        # One context for all rows only moves a bias.
        of_x, of_context = weights[0].split([self.features, self.context_features], 1)
        moved = torch.addmv(biases[0], of_context, context[0])
        return ops.mlp(x, [of_x, *weights[1:]], [moved, *biases[1:]])

    def masked_layers(self) -> Layers:
        """The weights (out, in), zero where the masks are, and the biases.

        The first weight has a column for each feature, then one for each feature of the context.
        """
        layers: list[MaskedLinear] = list(self.layers)  # type: ignore[arg-type]
        return [layer.masked_weight() for layer in layers], [layer.bias for layer in layers]

    def plain_layers(self) -> Layers:
        """The weights as they are trained, for an op that knows the masks, and the biases."""
        # nn.Module's attribute lookup would take longer than the op's checks.
        own = [layer._parameters for layer in self.layers]
        return [layer["weight"] for layer in own], [layer["bias"] for layer in own]  # type: ignore[misc]

    def _masks(self) -> list[Tensor]:
        """1 where a unit sees one of the layer before, from the first layer to the last."""
        of_inputs = [0] * (self.features + self.context_features)
        for position, feature in enumerate(self.input_order):
            of_inputs[feature] = position + 1
        # An output sees the degrees below its feature's.
        of_features = [degree - 1 for degree in of_inputs[: self.features]]
        of_outputs = (
            [degree for degree in of_features for _ in range(self.outputs)]
            if self.grouped
            else of_features * self.outputs
        )
        sizes = [torch.tensor(d) for d in (of_inputs, *self.degrees, of_outputs)]
        return [(b[:, None] >= a).float() for a, b in itertools.pairwise(sizes)]

    def extra_repr(self) -> str:
        order = "" if self.input_order == tuple(range(self.features)) else (
            f", input_order={self.input_order}"
        )  # fmt: skip
        return (
            f"features={self.features}, outputs={self.outputs}, hidden={self.hidden}, "
            f"context={self.context_features}, grouped={self.grouped}{order}"
        )


def _input_order(owner: str, given: Sequence[int] | None, features: int) -> tuple[int, ...]:
    if given is None:
        return tuple(range(features))
    order = arguments.shape(owner, "input_order", given)
    if sorted(order) != list(range(features)):
        raise ValueError(
            f"{owner}: input_order must hold each of 0, ..., {features - 1} once, got "
            f"{tuple(order)}"
        )
    return tuple(order)


def _spread(width: int, first: int, last: int) -> tuple[int, ...]:
    """Degrees of `width` units from `first` to `last`, ascending.

    All of them, equally often but for the rest, where the units suffice; else as far apart as they
    can be.
    """
    count = last - first + 1
    if width >= count:
        return tuple(first + i * count // width for i in range(width))
    return tuple(first + i * (count - 1) // max(width - 1, 1) for i in range(width))

"""The networks that give couplings their parameters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels import arguments, ops

from . import context as contexts

__all__ = [
    "ContextConv2d", "ConvNetwork", "ReluNetwork", "conv_conditioner", "is_plain", "joined",
    "mlp_conditioner",
]  # fmt: skip

Layers = tuple[list[Tensor], list[Tensor]]

# So few features are cheaper to copy to every sample than a separate pass over the first layer.
_FEW_FEATURES = 16


class ReluNetwork(nn.Sequential):
    """Linear layers with ReLUs between them, run by one fused op (:func:`ops.mlp`).

    It behaves as an ``nn.Sequential``: if it contains other layers, or layers with hooks, it
    calls them one by one.

    Attributes:
        context_features: c; the last c features that the first layer reads are a context's,
            which ``forward`` takes as a second argument. 0 by default.

    Example:
        >>> import torch
        >>> ReluNetwork.of_widths(3, 8, 8, 6)(torch.randn(5, 3)).shape
        torch.Size([5, 6])
    """

    context_features: int = 0
    shares_context = True

    @classmethod
    def of_widths(cls, *widths: int, context: int = 0) -> ReluNetwork:
        """A new network, given the widths of its input, its hidden layers and its output.

        Args:
            widths: features of x, of each hidden layer, of the output.
            context: features of the context that the first layer reads beside x.
        """
        if len(widths) < 2:
            raise ValueError(f"ReluNetwork: widths must be at least two numbers, got {widths}")
        for width in widths:
            arguments.integer("ReluNetwork", "widths", width, 0)
        arguments.integer("ReluNetwork", "context", context, 0)
        layers: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise((widths[0] + context, *widths[1:])):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        network = cls(*layers[:-1])
        if context:
            network.context_features = context
        return network

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps x (B, in), and a context (R, c) with R a divisor of B, to (B, out)."""
        if context is not None or self.context_features:
            contexts.check("ReluNetwork", context, self.context_features, x)
        layers = self.layers()
        if context is not None:
            return self._with_context(x, context, layers)
        if layers is not None:
            return ops.mlp(x, *layers)
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return out

    def layers(self) -> Layers | None:
        """The weights and the biases; None unless the network is plain Linear and ReLU layers."""
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for i, layer in enumerate(self._modules.values()):
            if not is_plain(layer, nn.ReLU if i % 2 else nn.Linear):
                return None
            if i % 2 == 0:
                # nn.Module's attribute lookup would take as long as everything else here.
                weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
                if weight is None or bias is None:
                    return None
                weights.append(weight)
                biases.append(bias)
        return (weights, biases) if len(self) % 2 else None

    def layers_given(self, context: Tensor) -> Layers | None:
        """`layers` of the network of x alone, given one context (1, c): it moves the first bias."""
        layers = self.layers()
        return None if layers is None else self._given(context, *layers)

    def _given(self, context: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Layers:
        of_x, of_context = self._first_weight(weights)
        # Autocast does not convert what addmv takes.
        bias = torch.addmv(biases[0], of_context, context[0].to(biases[0].dtype))
        return [of_x, *weights[1:]], [bias, *biases[1:]]

    def _first_weight(self, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the first layer's weight has for x and for the context."""
        features = self.context_features
        sizes = [weights[0].shape[1] - features, features]
        of_x, of_context = torch.split_with_sizes(weights[0], sizes, 1)
        return of_x, of_context

    def _with_context(self, x: Tensor, context: Tensor, layers: Layers | None) -> Tensor:
        groups, rows = context.shape[0], x.shape[0]
        if layers is not None and groups == 1:
            return ops.mlp(x, *self._given(context, *layers))
        if layers is not None and groups != rows and self.context_features > _FEW_FEATURES:
            return self._with_shared_context(x, context, *layers)
        both = joined(x, context)
        if layers is not None:
            return ops.mlp(both, *layers)
        out: Tensor = super().forward(both)  # type: ignore[no-untyped-call]
        return out

    def _with_shared_context(
        self, x: Tensor, context: Tensor, weights: list[Tensor], biases: list[Tensor]
    ) -> Tensor:
        """The context's part of the first layer once for each context, not for each sample."""
        of_x, of_context = self._first_weight(weights)
        # The op for one layer too: its result does not depend on the number of threads.
        first = contexts.grouped(ops.mlp(x, [of_x], biases[:1]), context)
        first = (first + F.linear(context, of_context).unsqueeze(1)).flatten(0, 1)
        return first if len(weights) == 1 else ops.mlp(first.relu(), weights[1:], biases[1:])

    def extra_repr(self) -> str:
        return f"context_features={self.context_features}" if self.context_features else ""


def joined(x: Tensor, context: Tensor) -> Tensor:
    """[x, context] of each row, with one copy."""
    if context.shape[0] == x.shape[0]:
        return torch.cat([x, context], 1)
    of_each = contexts.over_rows(context, x.shape[0])
    return torch.cat([contexts.grouped(x, context), of_each], 2).flatten(0, 1)


M = TypeVar("M", bound=nn.Module)


def is_plain(layer: nn.Module | None, kind: type[M]) -> TypeGuard[M]:
    """Whether the layer is of exactly this type and has no hooks."""
    return type(layer) is kind and not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


class ContextConv2d(nn.Conv2d):
    """A convolution whose bias is a linear map of the context: one number for each channel.

    y = conv(x) + bias + W context, which costs no channels that repeat the context at every
    position.

    Args:
        in_channels, out_channels, kernel_size, padding: of the convolution.
        context_features: c.

    Example:
        >>> layer = ContextConv2d(2, 4, 3, context_features=5, padding=1)
        >>> layer(torch.randn(6, 2, 8, 8), torch.randn(6, 5)).shape
        torch.Size([6, 4, 8, 8])
    """

    shares_context = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        context_features: int,
        padding: int = 0,
    ) -> None:
        owner = "ContextConv2d"
        widths = {"in_channels": in_channels, "out_channels": out_channels}
        for name, width in (widths | {"kernel_size": kernel_size}).items():
            arguments.integer(owner, name, width)
        arguments.integer(owner, "padding", padding, 0)
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        self.context_features = arguments.integer(owner, "context_features", context_features)
        self.context = nn.Linear(context_features, out_channels, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps x (B, in, H, W) and a context (R, c), R a divisor of B, to (B, out, H', W')."""
        contexts.check("ContextConv2d", context, self.context_features, x)
        assert context is not None
        assert self.bias is not None
        bias = self.bias + self.context(context)
        if context.shape[0] == 1:
            return self._conv_forward(x, self.weight, bias[0])
        out = contexts.grouped(self._conv_forward(x, self.weight, None), context)
        return (out + bias[:, None, :, None, None]).flatten(0, 1)


class ConvNetwork(nn.Sequential):
    """Layers of which the first reads a context beside its input.

    Example:
        >>> first = ContextConv2d(2, 8, 3, context_features=5, padding=1)
        >>> network = ConvNetwork(first, nn.ReLU(), nn.Conv2d(8, 4, 1))
        >>> network(torch.randn(6, 2, 8, 8), torch.randn(1, 5)).shape
        torch.Size([6, 4, 8, 8])
    """

    shares_context = True

    @property
    def context_features(self) -> int:
        return contexts.features_of(self[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The layers one after another, the first with the context (R, c)."""
        first, *others = self
        x = first(x, context)
        for layer in others:
            x = layer(x)
        return x


def mlp_conditioner(
    in_features: int, out_features: int, hidden: Sequence[int] = (64, 64), *, context: int = 0
) -> ReluNetwork:
    """A ReLU network whose last layer is zero, so that a new coupling is the identity.

    Args:
        in_features: of the identity channels.
        out_features: of the parameters, two for each coupled channel.
        hidden: widths of the hidden layers.
        context: features of the context that the first layer reads beside the identity channels.

    Example:
        >>> import torch
        >>> mlp_conditioner(3, 6)(torch.randn(2, 3)).abs().sum().item()
        0.0
        >>> mlp_conditioner(3, 6, context=2)(torch.randn(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 6])
    """
    owner = "mlp_conditioner"
    arguments.integer(owner, "in_features", in_features, 0)
    arguments.integer(owner, "out_features", out_features, 0)
    arguments.integer(owner, "context", context, 0)
    hidden = arguments.widths(owner, "hidden", hidden)
    network = ReluNetwork.of_widths(in_features, *hidden, out_features, context=context)
    last = network[-1]
    assert isinstance(last, nn.Linear)
    _zeroed(last)
    return network


def conv_conditioner(
    in_channels: int, out_channels: int, hidden: int = 64, *, context: int = 0
) -> nn.Sequential:
    """Glow's 3x3, 1x1, 3x3 convolutions; the last is zero, so a new coupling is the identity.

    Args:
        in_channels: of the identity channels.
        out_channels: of the parameters, two for each coupled channel.
        hidden: channels of the hidden layers.
        context: features of the context, which moves the biases of the first convolution.

    Example:
        >>> import torch
        >>> conv_conditioner(2, 4, hidden=8)(torch.randn(1, 2, 4, 4)).shape
        torch.Size([1, 4, 4, 4])
        >>> conv_conditioner(2, 4, context=3)(torch.randn(6, 2, 4, 4), torch.randn(6, 3)).shape
        torch.Size([6, 4, 4, 4])
    """
    widths = {"in_channels": in_channels, "out_channels": out_channels, "hidden": hidden}
    for name, width in widths.items():
        arguments.integer("conv_conditioner", name, width)
    arguments.integer("conv_conditioner", "context", context, 0)
    last = nn.Conv2d(hidden, out_channels, 3, padding=1)
    first = (
        ContextConv2d(in_channels, hidden, 3, context_features=context, padding=1)
        if context
        else nn.Conv2d(in_channels, hidden, 3, padding=1)
    )
    return (ConvNetwork if context else nn.Sequential)(
        first,
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(inplace=True),
        _zeroed(last),
    )


def _zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer

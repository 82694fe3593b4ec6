"""Networks of other libraries that `ops.mlp` computes, and their weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels import ops

from .watch import Watch

__all__ = ["Network", "recognise"]

_FUNCTIONS: dict[Any, str] = {
    F.relu: "relu", torch.relu: "relu", torch.tanh: "tanh", F.tanh: "tanh", F.elu: "elu",
    F.leaky_relu: "leaky_relu",
}  # fmt: skip
# Of other libraries, by the name of their class: what stands in their place here.
_LINEAR = ("zuko.nn.Linear",)
_MASKED = ("zuko.nn.MaskedLinear", "nflows.transforms.made.MaskedLinear",
           "normflows.nets.made.MaskedLinear")  # fmt: skip
_SEQUENTIAL = ("zuko.nn.MLP", "zuko.nn.MaskedMLP")
_RESIDUAL = ("nflows.nn.nets.resnet.ResidualNet", "normflows.nets.resnet.ResidualNet")
_MADE = ("nflows.transforms.made.MADE", "normflows.nets.made.MADE")
_MADE_RESIDUAL = ("nflows.transforms.made.MaskedResidualBlock",
                  "normflows.nets.made.MaskedResidualBlock")  # fmt: skip
_MADE_PLAIN = ("nflows.transforms.made.MaskedFeedforwardBlock",
               "normflows.nets.made.MaskedFeedforwardBlock")  # fmt: skip
_RESIDUAL_BLOCK = ("nflows.nn.nets.resnet.ResidualBlock", "normflows.nets.resnet.ResidualBlock")


class Activation(NamedTuple):
    """An activation function of `ops.mlp`."""

    name: str
    negative_slope: float = 0.01


class Unknown(Exception):
    """Something that `ops.mlp` does not compute."""


class Network:
    """A multilayer perceptron whose weights are those of somebody else's modules.

    Attributes:
        options: keywords of `ops.mlp` and `ops.affine_coupling_mlp`.
        layers: the modules of its linear layers.
        masked: whether their weights are multiplied by masks.
    """

    __slots__ = ("_parameters", "layers", "masked", "options")

    def __init__(self, layers: list[nn.Module], activation: Activation, residual: bool) -> None:
        self.layers = layers
        self.masked = any("mask" in layer._buffers for layer in layers)
        self._parameters = [layer._parameters for layer in layers]
        self.options: dict[str, Any] = {}
        if activation.name != "relu":
            self.options["activation"] = activation.name
        if activation.name == "leaky_relu":
            self.options["negative_slope"] = activation.negative_slope
        if residual:
            self.options["residual"] = True

    def weights(self) -> list[Tensor]:
        """The matrices as they are now, with their masks applied."""
        weights: list[Any] = [own["weight"] for own in self._parameters]
        if self.masked:
            buffers: list[Any] = [layer._buffers["mask"] for layer in self.layers]
            return [weight * mask for weight, mask in zip(weights, buffers, strict=True)]
        return weights

    def plain_weights(self) -> list[Tensor]:
        """The matrices as they are trained, without masks."""
        weights: list[Any] = [own["weight"] for own in self._parameters]
        return weights

    def biases(self) -> list[Tensor]:
        """The vectors as they are now."""
        biases: list[Any] = [own["bias"] for own in self._parameters]
        return biases

    def __call__(self, x: Tensor) -> Tensor:
        """The output, as the modules compute it."""
        return ops.mlp(x, self.weights(), self.biases(), **self.options)


def recognise(net: nn.Module) -> tuple[Network | None, Watch]:
    """The network that `net(x)` computes, or None, and what that follows from.

    Known are chains of linear layers with ReLU, leaky ReLU, ELU or tanh between them, and the
    networks of nflows, normflows and zuko that consist of such. Exact classes only; batch
    normalisation, active dropout, layers without bias, hooks and parametrisations are not known.
    """
    watch = Watch()
    try:
        network = _network(net, watch)
    except Unknown:
        return None, watch
    return (None if watch.hooked else network), watch


def _name(module: nn.Module) -> str:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


def _network(net: nn.Module, watch: Watch) -> Network:
    name = _name(net)
    if name in _RESIDUAL:
        return _residual(net, watch)
    if name in _MADE:
        return _made(net, watch)
    if name == "nflows.nn.nets.mlp.MLP":
        return _nflows_mlp(net, watch)
    return _chain(_flattened(net, watch), watch)


def _flattened(net: nn.Module, watch: Watch) -> list[nn.Module]:
    """The layers of nested sequences, one after the other, without those that do nothing."""
    name = _name(net)
    if type(net) is nn.Sequential or name in _SEQUENTIAL:
        watch.bypassed(net)
        return [
            layer for each in net._modules.values() for layer in _flattened(_there(each), watch)
        ]
    if name == "normflows.nets.mlp.MLP":
        watch.bypassed(net)
        return _flattened(_there(net._modules.get("net")), watch)
    if type(net) is nn.Identity:
        watch.bypassed(net)
        return []
    if type(net) is nn.Dropout:
        _inactive(net, watch)
        return []
    return [net]


def _there(module: nn.Module | None) -> nn.Module:
    if module is None:
        raise Unknown
    return module


def _inactive(dropout: nn.Module, watch: Watch) -> None:
    if type(dropout) is not nn.Dropout:
        raise Unknown
    watch.attributes(dropout, ("p", "training"))
    watch.bypassed(dropout)
    if dropout.p and dropout.training:
        raise Unknown


def _chain(items: list[nn.Module], watch: Watch) -> Network:
    """Linear layers and activations in turn; linear at both ends."""
    if len(items) % 2 == 0:
        raise Unknown
    for layer in items[::2]:
        _linear(layer, watch)
    activations = {_activation(each, watch) for each in items[1::2]}
    if len(activations) > 1:
        raise Unknown
    return Network(items[::2], activations.pop() if activations else Activation("relu"), False)


def _linear(layer: nn.Module, watch: Watch) -> nn.Module:
    name = _name(layer)
    if type(layer) is not nn.Linear and name not in _LINEAR and name not in _MASKED:
        raise Unknown
    weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
    if weight is None or bias is None or weight.ndim != 2:
        raise Unknown
    watch.bypassed(layer)
    return layer


def _activation(given: Any, watch: Watch) -> Activation:
    """Of a module or a function."""
    kind = type(given)
    if isinstance(given, nn.Module):
        watch.bypassed(given)
        # What it does, and that it does not do it in place, follows from its attributes.
        watch.attributes(given, ("negative_slope", "alpha"))
    if kind is nn.ReLU:
        return Activation("relu")
    if kind is nn.Tanh:
        return Activation("tanh")
    if kind is nn.ELU and given.alpha == 1:
        return Activation("elu")
    if kind is nn.LeakyReLU:
        slope = float(given.negative_slope)
        return Activation("relu") if slope == 0 else Activation("leaky_relu", slope)
    try:
        return Activation(_FUNCTIONS[given])
    except (KeyError, TypeError):
        raise Unknown from None


def _nflows_mlp(net: Any, watch: Watch) -> Network:
    watch.bypassed(net)
    watch.attributes(net, ("_in_shape", "_out_shape", "_activation", "_activate_output"))
    if net._activate_output or len(net._in_shape) != 1 or len(net._out_shape) != 1:
        raise Unknown
    watch.members(net._hidden_layers)
    layers = [net._input_layer, *net._hidden_layers, net._output_layer]
    return Network(
        [_linear(layer, watch) for layer in layers], _activation(net._activation, watch), False
    )


def _residual(net: Any, watch: Watch) -> Network:
    """`inputs + W2 a(W1 a(inputs))` for each block, between two linear layers."""
    watch.bypassed(net)
    watch.attributes(net, ("context_features", "preprocessing"))
    watch.members(net.blocks)
    if net.context_features is not None or getattr(net, "preprocessing", None) is not None:
        raise Unknown
    layers, activations = [_linear(net.initial_layer, watch)], set()
    for block in net.blocks:
        if _name(block) not in _RESIDUAL_BLOCK:
            raise Unknown
        layers += _block(block, watch)
        activations.add(_activation(block.activation, watch))
    layers.append(_linear(net.final_layer, watch))
    if len(activations) != 1:
        raise Unknown
    return Network(layers, activations.pop(), True)


def _block(block: Any, watch: Watch) -> list[nn.Module]:
    watch.bypassed(block)
    watch.attributes(block, ("activation", "use_batch_norm"))
    watch.members(block.linear_layers)
    _inactive(block.dropout, watch)
    if block.use_batch_norm or len(block.linear_layers) != 2:
        raise Unknown
    return [_linear(layer, watch) for layer in block.linear_layers]


def _made(net: Any, watch: Watch) -> Network:
    """MADE: the same with masks; without residual blocks a plain chain."""
    watch.bypassed(net)
    watch.attributes(net, ("use_residual_blocks", "activation", "preprocessing"))
    watch.members(net.blocks)
    preprocessing = net._modules.get("preprocessing")
    if preprocessing is not None and _flattened(preprocessing, watch):
        raise Unknown
    # normflows has no `use_residual_blocks`, and no activation in front of plain blocks.
    residual = all(_name(block) in _MADE_RESIDUAL for block in net.blocks)
    layers, activations = [_linear(net.initial_layer, watch)], set()
    if not residual:
        if "use_residual_blocks" not in net.__dict__:
            raise Unknown
        activations.add(_activation(net.activation, watch))
    for block in net.blocks:
        name = _name(block)
        if residual and name in _MADE_RESIDUAL:
            layers += _block(block, watch)
        elif not residual and name in _MADE_PLAIN and block.batch_norm is None:
            watch.bypassed(block)
            watch.attributes(block, ("activation", "batch_norm"))
            _inactive(block.dropout, watch)
            layers.append(_linear(block.linear, watch))
        else:
            raise Unknown
        activations.add(_activation(block.activation, watch))
    layers.append(_linear(net.final_layer, watch))
    if len(activations) != 1:
        raise Unknown
    return Network(layers, activations.pop(), residual)

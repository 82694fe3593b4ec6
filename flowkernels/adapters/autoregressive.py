"""Masked autoregressive layers of other libraries as calls of our ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops

from .networks import Network

__all__ = ["AffineNetwork", "Autoregressive", "Degrees", "SplineNetwork", "degrees_of"]


class Degrees:
    """How the units of a masked network depend on the features, in the order our ops want.

    Attributes:
        degrees: of the units of each hidden layer, ascending.
        input_order: the features from the first to the last one.
        sorting: for each hidden layer, the permutation of the library's units that sorts them.
    """

    __slots__ = ("degrees", "input_order", "sorting")

    def __init__(
        self,
        degrees: tuple[tuple[int, ...], ...],
        input_order: tuple[int, ...],
        sorting: list[Tensor],
    ) -> None:
        self.degrees, self.input_order, self.sorting = degrees, input_order, sorting

    def sorted_layers(self, network: Network) -> tuple[list[Tensor], list[Tensor]]:
        """The network's weights and biases, its units sorted."""
        weights, biases = network.plain_weights(), network.biases()
        for i, order in enumerate(self.sorting):
            weights[i] = weights[i].index_select(0, order)
            biases[i] = biases[i].index_select(0, order)
            weights[i + 1] = weights[i + 1].index_select(1, order)
        return weights, biases


def degrees_of(network: Network | None, features: int, context: int = 0) -> Degrees | None:
    """The degrees that a network's masks follow from; None where our inverse does not fit.

    That takes ReLUs without residual blocks, and masks by which each output sees exactly the units
    that see no more than the features before its own (Germain et al., arXiv 1502.03509).
    """
    if network is None or network.options or not network.masked:
        return None
    buffers: list[Any] = [layer._buffers["mask"] for layer in network.layers]
    masks: list[Tensor] = [mask != 0 for mask in buffers]
    order = _input_order(masks, features)
    if order is None or masks[0].shape[1] != features + context:
        return None
    place = torch.tensor(order, device=masks[0].device).argsort()
    before = place + 1  # the degrees of what a layer sees
    seen = masks[0][:, :features]
    if context and not masks[0][:, features:].all():
        return None
    degrees, sorting = [], []
    for i, mask in enumerate(masks[:-1]):
        if i:
            seen = mask
        # A unit's degree is the largest that it sees; 0 if it sees nothing but the context.
        own = torch.where(seen, before, 0).amax(1)
        if not torch.equal(seen, before <= own[:, None]) or int(own.max()) > features - 1:
            return None
        if int(own.min()) < 0:
            return None
        permutation = own.argsort(stable=True)
        degrees.append(tuple(own[permutation].tolist()))
        sorting.append(permutation)
        before = own
    outputs = len(masks[-1]) // features
    own = (place + 1).repeat_interleave(outputs)
    if not torch.equal(masks[-1], before < own[:, None]):
        return None
    return Degrees(tuple(degrees), order, sorting)


def _input_order(masks: Sequence[Tensor], features: int) -> tuple[int, ...] | None:
    """The features by how many others they depend on, if that is one each from 0 up."""
    if len(masks) < 2 or len(masks[-1]) % features:
        return None
    reaches = masks[0][:, :features].double()
    for mask in masks[1:]:
        reaches = (mask.double() @ reaches != 0).double()
    count = (reaches != 0).sum(1).reshape(features, -1)
    if not bool((count == count[:, :1]).all()):
        return None
    sizes = count[:, 0]
    if sorted(sizes.tolist()) != list(range(features)):
        return None
    return tuple(sizes.argsort().tolist())


class Autoregressive:
    """A masked network whose outputs map every feature.

    Attributes:
        network: what the library's network is, or None.
        options: keywords of the op.
        degrees: for the inverse op, or None where that does not fit.
    """

    __slots__ = ("degrees", "network", "options")

    def __init__(
        self, network: Network | None, options: dict[str, Any], features: int = 0, context: int = 0
    ) -> None:
        self.network, self.options = network, options
        self.degrees = degrees_of(network, features or _features(network), context)

    def map(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """(z, log_det) of x (B, C), or back, given the network's output."""
        raise NotImplementedError

    def solve(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x, log_det) of z (B, C), feature by feature."""
        raise NotImplementedError

    def iterate(
        self, z: Tensor, passes: int, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x, log_det) of z (B, C) by as many passes of the whole network."""
        assert self.network is not None
        weights, biases = self.network.weights(), self.network.biases()
        x, log_det = torch.zeros_like(z), None
        for _ in range(passes):
            inputs = x if context is None else torch.cat([x, context], -1)
            params = ops.mlp(inputs, weights, biases, **self.network.options)
            x, log_det = self.map(z, params, True)
        assert log_det is not None
        return x, log_det


class AffineNetwork(Autoregressive):
    """Shift and scale of every feature; `options` are those of `ops.affine_coupling`."""

    def map(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return ops.affine_coupling(x, params, inverse=inverse, **self.options)

    def solve(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert self.network is not None
        assert self.degrees is not None
        weights, biases = self.degrees.sorted_layers(self.network)
        return ops.affine_autoregressive_inverse(
            z, weights, biases, degrees=self.degrees.degrees,
            input_order=self.degrees.input_order, context=context, **self.options,
        )  # fmt: skip


class SplineNetwork(Autoregressive):
    """Rational-quadratic splines; `options` are those of their op."""

    def map(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return ops.rational_quadratic_spline(x, params, inverse=inverse, **self.options)

    def solve(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert self.network is not None
        assert self.degrees is not None
        weights, biases = self.degrees.sorted_layers(self.network)
        return ops.spline_autoregressive_inverse(
            z, weights, biases, degrees=self.degrees.degrees,
            input_order=self.degrees.input_order, context=context, **self.options,
        )  # fmt: skip


def _features(network: Network | None) -> int:
    weight = None if network is None else network.layers[0]._parameters["weight"]
    return 0 if weight is None else weight.shape[1]

"""Coupling layers of other libraries as calls of our ops: which channels, which network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowkernels import ops
from flowkernels.ops.affine_coupling import Transform
from flowkernels.ops.composite.identity_split import join_channels, split_channels
from flowkernels.ops.rational_quadratic_spline import LARGEST_BINS

from .networks import Network, recognise
from .watch import Watch

__all__ = ["Coupling", "Split", "spline_problem"]


class Split:
    """Which channels a coupling changes.

    Attributes:
        transform: as `ops.affine_coupling_split` has it; None for other sets of channels.
        coupled: how many channels are changed.
        order: where `transform` is None, the kept channels and then the coupled ones; `inverse` is
            the permutation that puts them back. With it, the op couples the second part.
    """

    __slots__ = ("coupled", "inverse", "order", "transform")

    order: Tensor | None
    inverse: Tensor | None

    def __init__(self, kept: Tensor, coupled: Tensor) -> None:
        self.transform = _transform(kept.tolist(), coupled.tolist())
        self.coupled = len(coupled)
        self.order = self.inverse = None
        if self.transform is None:
            self.order = torch.cat([kept, coupled])
            self.inverse = self.order.argsort()


def _transform(kept: list[int], coupled: list[int]) -> Transform | None:
    channels = range(len(kept) + len(coupled))
    sets: dict[Transform, range] = {
        "second": channels[len(kept) :], "first": channels[: len(coupled)],
        "even": channels[0::2], "odd": channels[1::2],
    }  # fmt: skip
    return next(
        (
            name
            for name, changed in sets.items()
            if coupled == [*changed] and kept == [c for c in channels if c not in changed]
        ),
        None,
    )


class Coupling:
    """The network and the channels of a coupling layer; a method for each kind of map.

    Args:
        network: gives the parameters of the kept channels; None if only the library's does.
        split: which channels these are.
        options: keywords of the op.
    """

    __slots__ = ("network", "options", "split", "whole")

    def __init__(self, network: Network | None, split: Split, options: dict[str, Any]) -> None:
        self.network, self.split, self.options = network, split, options
        # All that the op for a whole layer takes beside x, the weights and the direction.
        self.whole: dict[str, Any] = {"transform": split.transform or "second"} | options
        if self.network is not None:
            self.whole |= self.network.options

    @classmethod
    def of(cls, net: nn.Module, split: Split, options: dict[str, Any], watch: Watch) -> Coupling:
        """With a library's network, which `watch` is told of."""
        network, of_network = recognise(net)
        watch.include(of_network)
        return cls(network, split, options)

    def affine(self, x: Tensor, net: Any, inverse: bool) -> tuple[Tensor, Tensor]:
        """(y, log_det); `net` gives the parameters where they need more than the kept channels."""
        split, network = self.split, self.network
        if split.order is not None:
            x = x.index_select(1, split.order)
        if net is None and network is not None and x.ndim == 2:
            y, log_det = ops.affine_coupling_mlp(
                x, network.weights(), network.biases(), inverse=inverse, **self.whole
            )
        else:
            kept, x = ops.identity_split(x, split.coupled, transform=self.whole["transform"])
            params = network(kept) if net is None and network is not None else net(kept)
            y, log_det = ops.affine_coupling_split(
                x, params, transform=self.whole["transform"], inverse=inverse, **self.options
            )
        if split.inverse is not None:
            y = y.index_select(1, split.inverse)
        return y, log_det

    def spline(
        self, x: Tensor, net: Any, inverse: bool, of_kept: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(y, log_det) of rational-quadratic splines.

        `of_kept` maps the kept channels, too, and gives their log-det; the network sees them before
        the forward map.
        """
        split, network = self.split, self.network
        if split.order is not None:
            x = x.index_select(1, split.order)
        transform = self.whole["transform"]
        kept, x = ops.identity_split(x, split.coupled, transform=transform)
        seen = kept
        if of_kept is not None:
            mapped, log_det_kept = of_kept(kept)
            seen = mapped if inverse else kept
        params = network(seen) if net is None and network is not None else net(seen)
        if of_kept is None:
            y, log_det = ops.rational_quadratic_spline_split(
                x, params, transform=transform, inverse=inverse, **self.options
            )
        else:
            changed, _ = split_channels(x, split.coupled, transform)
            changed, log_det = ops.rational_quadratic_spline(
                changed, params, inverse=inverse, **self.options
            )
            y, log_det = join_channels(changed, mapped, transform), log_det + log_det_kept
        if split.inverse is not None:
            y = y.index_select(1, split.inverse)
        return y, log_det

    def additive(self, x: Tensor, net: Any, inverse: bool) -> Tensor:
        """Y alone, x + t or x - t; its log-det is 0."""
        split, network = self.split, self.network
        if split.order is not None:
            x = x.index_select(1, split.order)
        transform: Transform = self.whole["transform"]
        kept, x = ops.identity_split(x, split.coupled, transform=transform)
        shift = network(kept) if net is None and network is not None else net(kept)
        changed, _ = split_channels(x, split.coupled, transform)
        changed = changed - shift if inverse else changed + shift
        y = join_channels(changed, kept, transform)
        return y if split.inverse is None else y.index_select(1, split.inverse)


def spline_problem(
    bins: int, bound: Any, min_width: float, min_height: float, min_derivative: float
) -> str | None:
    """What our splines do not take of a library's options, or None."""
    if not 1 <= bins <= LARGEST_BINS:
        return f"more than {LARGEST_BINS} bins"
    if isinstance(bound, Tensor):
        return "a bound for each feature"
    if not bound > 0:
        return "a bound that is not positive"
    if not all(0 <= least * bins < 1 for least in (min_width, min_height)):
        return "bins as wide as the interval"
    return None if 0 < min_derivative < 1 else "a least derivative outside (0, 1)"

"""The flow layers of normflows (https://github.com/VincentStimper/normalizing-flows, 1.7).

Served are `AffineCoupling` and `AffineCouplingBlock` (so also `GlowBlock`), with any network, its
rational-quadratic couplings and autoregressive layers, and `MaskedAffineAutoregressive`.
`MaskedAffineFlow`, `ActNorm` and `Invertible1x1Conv` run the library's code: nothing is gained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowkernels import ops

from . import spline_layers as layers
from .autoregressive import AffineNetwork
from .couplings import Coupling, Split
from .networks import Network, recognise
from .replacement import DEFER, Replacement, plain_class
from .scales import Scale
from .watch import Watch

__all__ = ["REPLACEMENTS"]

# The scale function of the direction that normflows calls forward, from the base to the data.
_SCALES = {"exp": "exp", "sigmoid": "inv_sigmoid", "sigmoid_inv": "sigmoid"}


# ---- AffineCoupling: [z1, z2], already split -------------------------------------------------


class _Pair:
    """What couples z2, given z1."""

    __slots__ = ("network", "options")

    def __init__(self, network: Network | None, options: dict[str, Any] | None) -> None:
        self.network, self.options = network, options


def _options(module: Any) -> dict[str, Any] | str | None:
    """Of the op; None for an additive coupling."""
    if not module.scale:
        return None
    if module.scale_map not in _SCALES:
        return "a scale map that is not known"
    return Scale(_SCALES[module.scale_map]).options() | {"layout": "interleaved"}


def _decide_pair(module: Any, watch: Watch) -> _Pair | str:
    watch.members(module)
    watch.attributes(module, ("scale", "scale_map"))
    options = _options(module)
    if isinstance(options, str):
        return options
    network, of_network = recognise(module.param_map)
    watch.include(of_network)
    return _Pair(network, options)


def _pair(inverse: bool) -> Any:
    def serve(plan: _Pair, module: Any, z: Any) -> Any:
        z1, z2 = z
        params = module.param_map(z1) if plan.network is None else plan.network(z1)
        if plan.options is None:
            z2 = z2 - params if inverse else z2 + params
            return [z1, z2], torch.zeros(z2.shape[:1], dtype=z2.dtype, device=z2.device)
        z2, log_det = ops.affine_coupling(z2, params, inverse=inverse, **plan.options)
        return [z1, z2], log_det

    return serve


# ---- AffineCouplingBlock: splits, couples, merges --------------------------------------------


class _Block:
    """The coupling for each number of channels; in practice one."""

    __slots__ = ("additive", "by_channels", "mode", "net", "options", "watch")

    def __init__(self, net: Any, mode: str, options: dict[str, Any] | None, watch: Watch) -> None:
        self.net, self.mode, self.watch = net, mode, watch
        self.additive, self.options = options is None, options or {}
        self.by_channels: dict[int, Coupling] = {}
        # Also tells the watch of the network.
        self.by_channels[2] = self._coupling(2)

    def coupling(self, channels: int) -> Coupling:
        found = self.by_channels.get(channels)
        if found is None:
            found = self.by_channels[channels] = self._coupling(channels)
        return found

    def _coupling(self, channels: int) -> Coupling:
        numbers = torch.arange(channels)
        checkerboard = "checkerboard" in self.mode
        first, second = (numbers[1::2], numbers[0::2]) if checkerboard else numbers.chunk(2)
        if "inv" in self.mode:
            first, second = second, first
        # Its own modules are the same whatever the channels: watched once.
        watch = Watch() if self.by_channels else self.watch
        return Coupling.of(self.net, Split(first, second), self.options, watch)


_MODES = ("channel", "channel_inv", "checkerboard", "checkerboard_inv")
_RESHAPE, _COUPLING = "normflows.flows.reshape", "normflows.flows.affine.coupling"


def _decide_block(module: Any, watch: Watch) -> _Block | str:
    watch.members(module)
    watch.members(module.flows)
    parts = [*module.flows]
    names = [f"{k.__module__}.{k.__name__}" for k in (plain_class(type(p)) for p in parts)]
    if names != [f"{_RESHAPE}.Split", f"{_COUPLING}.AffineCoupling", f"{_RESHAPE}.Merge"]:
        return DEFER
    for part in parts:
        watch.bypassed(part)
    split, affine, merge = parts
    watch.attributes(split, ("mode",))
    watch.attributes(merge, ("mode",))
    watch.attributes(affine, ("scale", "scale_map"))
    options = _options(affine)
    if isinstance(options, str) or watch.hooked or merge.mode != split.mode:
        return DEFER
    if split.mode not in _MODES:
        return DEFER
    return _Block(affine.param_map, split.mode, options, watch)


def _block(inverse: bool) -> Any:
    def serve(plan: _Block, module: Any, z: Tensor) -> Any:
        if z.ndim < 2 or z.shape[1] < 2:
            return DEFER
        if z.ndim > 2 and plan.mode.startswith("checker"):
            return DEFER  # the squares are those of all dimensions; AffineCoupling is served
        coupling = plan.coupling(z.shape[1])
        net = None if coupling.network is not None else plan.net
        if plan.additive:
            return coupling.additive(z, net, inverse), z.new_zeros(len(z))
        return coupling.affine(z, net, inverse)

    return serve


# ---- masked autoregressive -------------------------------------------------------------------


def _decide_autoregressive(module: Any, watch: Watch) -> AffineNetwork | str:
    watch.members(module)
    watch.attributes(module, ("features",))
    network, of_network = recognise(module.autoregressive_net)
    watch.include(of_network)
    options = Scale("floored_sigmoid").options() | {"layout": "interleaved_scale_shift"}
    return AffineNetwork(network, options)


_SPLINES = "normflows.flows.neural_spline"

REPLACEMENTS = [
    Replacement(
        "normflows", f"{_COUPLING}:AffineCoupling", _decide_pair,
        {"forward": _pair(False), "inverse": _pair(True)},
    ),
    Replacement(
        "normflows", f"{_COUPLING}:AffineCouplingBlock", _decide_block,
        {"forward": _block(False), "inverse": _block(True)},
    ),
    Replacement(
        "normflows", f"{_SPLINES}.coupling:PiecewiseRationalQuadraticCoupling",
        layers.decide_coupling, layers.coupling_methods,
        (*layers.COUPLING_METHODS, "_piecewise_cdf"), layers.coupling_compiled,
    ),
    Replacement(
        "normflows", f"{_SPLINES}.coupling:PiecewiseRationalQuadraticCDF", layers.decide_elements,
        layers.own_methods, (), layers.own_compiled,
    ),
    Replacement(
        "normflows", "normflows.flows.affine.autoregressive:MaskedAffineAutoregressive",
        _decide_autoregressive,
        layers.affine_methods, layers.AFFINE_METHODS,
    ),
    Replacement(
        "normflows", f"{_SPLINES}.autoregressive:MaskedPiecewiseRationalQuadraticAutoregressive",
        layers.decide_autoregressive, layers.autoregressive_methods,
        layers.AUTOREGRESSIVE_METHODS, layers.autoregressive_compiled,
    ),
]  # fmt: skip

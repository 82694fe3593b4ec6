"""The flow layers of nflows (https://github.com/bayesiains/nflows, 0.14 and newer).

Served are its affine, additive and rational-quadratic couplings, of vectors and images, with any
mask, network and context, and its masked affine and rational-quadratic autoregressive transforms.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import spline_layers as layers
from .autoregressive import AffineNetwork
from .couplings import Coupling
from .networks import recognise
from .replacement import Replacement
from .scales import Scale, classify_scale, scale_of
from .watch import Watch

__all__ = ["REPLACEMENTS"]

_UNCONDITIONAL = "a transform of the kept channels"


def _decide_affine(module: Any, watch: Watch) -> Coupling | str:
    watch.attributes(module, ("scale_activation",))
    if module.unconditional_transform is not None:
        watch.members(module)
        return _UNCONDITIONAL
    scale = _scale(module)
    if scale is None:
        return "a scale activation that is not known"
    return layers.coupling(module, watch, scale.options() | {"layout": "shift_scale"})


def _scale(module: Any) -> Scale | None:
    """Of newer versions' argument, else (0.14) of what the method computes."""
    if "scale_activation" in module.__dict__:
        return scale_of(module.scale_activation)
    count = 2 * module.num_transform_features

    def scale(points: Tensor) -> Any:
        raw = points.repeat_interleave(count).reshape(-1, count)
        return module._scale_and_shift(raw)[0][:, 0]

    return classify_scale(scale)


def _decide_additive(module: Any, watch: Watch) -> Coupling | str:
    if module.unconditional_transform is not None:
        watch.members(module)
        return _UNCONDITIONAL
    return layers.coupling(module, watch, {})


def _affine(inverse: bool) -> Any:
    def serve(plan: Coupling, module: Any, inputs: Tensor, context: Tensor | None = None) -> Any:
        if layers.refused(module, inputs):
            return layers.REFUSED
        return plan.affine(inputs, layers.network_of(plan, module, context), inverse)

    return serve


def _additive(inverse: bool) -> Any:
    def serve(plan: Coupling, module: Any, inputs: Tensor, context: Tensor | None = None) -> Any:
        if layers.refused(module, inputs):
            return layers.REFUSED
        y = plan.additive(inputs, layers.network_of(plan, module, context), inverse)
        return y, inputs.new_zeros(len(inputs))

    return serve


def _decide_autoregressive(module: Any, watch: Watch) -> AffineNetwork | str:
    watch.members(module)
    watch.attributes(module, ("features", "_epsilon"))
    if module._epsilon != 1e-3:
        return "another least scale"
    network, of_network = recognise(module.autoregressive_net)
    watch.include(of_network)
    options = Scale("floored_softplus").options() | {"layout": "interleaved_scale_shift"}
    return AffineNetwork(network, options)


_COUPLINGS = "nflows.transforms.coupling"
_AUTOREGRESSIVE = "nflows.transforms.autoregressive"
_AFFINE_METHODS = (*layers.COUPLING_METHODS, "_scale_and_shift")

REPLACEMENTS = [
    Replacement(
        "nflows", f"{_COUPLINGS}:AffineCouplingTransform", _decide_affine,
        {"forward": _affine(False), "inverse": _affine(True)}, _AFFINE_METHODS,
    ),
    Replacement(
        "nflows", f"{_COUPLINGS}:AdditiveCouplingTransform", _decide_additive,
        {"forward": _additive(False), "inverse": _additive(True)}, _AFFINE_METHODS,
    ),
    Replacement(
        "nflows", f"{_COUPLINGS}:PiecewiseRationalQuadraticCouplingTransform",
        layers.decide_coupling, layers.coupling_methods,
        (*layers.COUPLING_METHODS, "_piecewise_cdf"), layers.coupling_compiled,
    ),
    Replacement(
        "nflows", "nflows.transforms.nonlinearities:PiecewiseRationalQuadraticCDF",
        layers.decide_elements, layers.own_methods, (), layers.own_compiled,
    ),
    Replacement(
        "nflows", f"{_AUTOREGRESSIVE}:MaskedAffineAutoregressiveTransform", _decide_autoregressive,
        layers.affine_methods, layers.AFFINE_METHODS,
    ),
    Replacement(
        "nflows", f"{_AUTOREGRESSIVE}:MaskedPiecewiseRationalQuadraticAutoregressiveTransform",
        layers.decide_autoregressive, layers.autoregressive_methods,
        layers.AUTOREGRESSIVE_METHODS, layers.autoregressive_compiled,
    ),
]  # fmt: skip

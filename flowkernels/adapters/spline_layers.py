"""Spline layers of nflows, and of normflows, which has nflows' names and formulas.

Durkan et al., Neural Spline Flows (arXiv 1906.04032).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops

from .autoregressive import Autoregressive, SplineNetwork
from .couplings import Coupling, Split, spline_problem
from .networks import recognise
from .replacement import DEFER
from .watch import Watch

__all__ = [
    "AFFINE_METHODS", "AUTOREGRESSIVE_METHODS", "COUPLING_METHODS", "REFUSED", "affine_methods",
    "autoregressive_compiled",
    "autoregressive_methods", "coupling", "coupling_compiled", "coupling_methods",
    "decide_autoregressive", "decide_coupling", "decide_elements", "network_of",
    "own_compiled", "own_methods", "refused",
]  # fmt: skip

REFUSED = "an input that the library refuses"
_OPTIONS = (
    "num_bins", "tails", "tail_bound", "min_bin_width", "min_bin_height", "min_derivative",
)  # fmt: skip
_WIDTHS = ("hidden_features", "hidden_channels")


# ---- couplings of any kind ------------------------------------------------------------------


def coupling(module: Any, watch: Watch, options: dict[str, Any]) -> Coupling:
    """The plan of a coupling with `identity_features` and a `transform_net`."""
    watch.members(module)
    watch.attributes(module, ("features", "unconditional_transform"))
    for name in ("identity_features", "transform_features"):
        watch.buffer(module, name)
    split = Split(module.identity_features, module.transform_features)
    return Coupling.of(module.transform_net, split, options, watch)


def network_of(plan: Coupling, module: Any, context: Tensor | None) -> Any:
    """What gives the parameters, where our own call of the network's layers does not."""
    if context is None and plan.network is not None:
        return None
    return lambda kept: module.transform_net(kept, context)


def refused(module: Any, inputs: Tensor) -> bool:
    """Whether the library raises an error about the shape."""
    return inputs.ndim not in (2, 4) or inputs.shape[1] != module.features


# ---- spline couplings -----------------------------------------------------------------------


def _options(module: Any, net: Any, bins: int = 0) -> dict[str, Any] | str:
    """The op's options, or why there are none."""
    bins = bins or module.num_bins
    problem = spline_problem(
        bins, module.tail_bound, module.min_bin_width, module.min_bin_height,
        module.min_derivative,
    )  # fmt: skip
    if problem is not None:
        return problem
    width = getattr(net, "hidden_features", None) or getattr(net, "hidden_channels", None)
    options = {
        "bins": bins, "bound": float(module.tail_bound), "boundary": module.tails,
        "min_width": module.min_bin_width, "min_height": module.min_bin_height,
        "min_derivative": module.min_derivative,
        "scale": 1.0 if width is None else 1 / math.sqrt(width),
    }  # fmt: skip
    tails = module.tails
    if tails == "linear" or (tails == "circular" and _root(module) == "normflows"):
        return options
    if isinstance(tails, (list, tuple)):
        return "tails that differ from feature to feature"
    if tails is None:
        # On [0, 1]; ours are on intervals around 0.
        return options | {"bound": 0.5, "boundary": "none"}
    return f"tails {tails!r}"


def _root(module: Any) -> str:
    """The library, also of a class that inherits from its classes."""
    roots = {kind.__module__.partition(".")[0] for kind in type(module).__mro__}
    return "nflows" if "nflows" in roots else "normflows"


def decide_coupling(module: Any, watch: Watch) -> Coupling | str:
    """The plan of a spline coupling."""
    watch.attributes(module, _OPTIONS)
    net = module.transform_net
    watch.attributes(net, _WIDTHS)
    options = _options(module, net)
    if isinstance(options, str):
        watch.members(module)
        return options
    if not hasattr(net, "hidden_features") and not hasattr(net, "hidden_channels"):
        # The library says so at each call.
        warnings.warn(
            "Inputs to the softmax are not scaled down: initialization might be bad.",
            stacklevel=2,
        )
    return coupling(module, watch, options)


def _layer(inverse: bool) -> Any:
    def serve(plan: Coupling, module: Any, inputs: Tensor, context: Tensor | None = None) -> Any:
        if refused(module, inputs):
            return REFUSED
        if module.tails is None:
            return DEFER  # to `_coupling_transform`
        net, of_kept = network_of(plan, module, context), module.unconditional_transform
        if of_kept is not None:
            of_kept = of_kept.inverse if inverse else of_kept
        return plan.spline(inputs, net, inverse, of_kept)

    return serve


def _elements(
    plan: Any, module: Any, inputs: Tensor, transform_params: Tensor, inverse: bool = False
) -> Any:
    """The coupled channels alone, given their parameters."""
    return _splines(module, plan.options, inputs, transform_params, inverse)


def _elements_compiled(
    module: Any, inputs: Tensor, transform_params: Tensor, inverse: bool = False
) -> Any:
    options = _options(module, module.transform_net)
    if isinstance(options, str):
        return options
    return _splines(module, options, inputs, transform_params, inverse)


def _splines(
    module: Any, options: dict[str, Any], inputs: Tensor, params: Tensor, inverse: bool
) -> Any:
    """(y, log_det of rows) of inputs (B, C, *S); without tails those of [0, 1]."""
    if module.tails is not None:
        return ops.rational_quadratic_spline(inputs, params, inverse=inverse, **options)
    if not inputs.numel() or torch.min(inputs) < 0 or torch.max(inputs) > 1:
        return REFUSED
    y, log_det = ops.rational_quadratic_spline(inputs - 0.5, params, inverse=inverse, **options)
    return y + 0.5, log_det


COUPLING_METHODS = (
    "_coupling_transform_forward", "_coupling_transform_inverse", "_transform_dim_multiplier",
)  # fmt: skip
coupling_methods: dict[str, Any] = {
    "forward": _layer(False), "inverse": _layer(True), "_coupling_transform": _elements,
}  # fmt: skip
coupling_compiled: dict[str, Any] = {"_coupling_transform": _elements_compiled}


# ---- splines with parameters of their own ----------------------------------------------------

_OWN = ("tails", "tail_bound", "min_bin_width", "min_bin_height", "min_derivative")
_PARAMETERS = ("unnormalized_widths", "unnormalized_heights", "unnormalized_derivatives")


def decide_elements(module: Any, watch: Watch) -> dict[str, Any] | str:
    """The op's options for splines whose parameters are the same for all rows."""
    watch.attributes(module, _OWN)
    return _options(module, None, module.unnormalized_widths.shape[-1])


def _own_spline(plan: dict[str, Any], module: Any, inputs: Tensor, inverse: bool = False) -> Any:
    own = module._parameters
    params = torch.cat([own[name] for name in _PARAMETERS], -1).flatten()
    rows = len(inputs)
    out = _splines(
        module, plan, inputs.reshape(rows, -1), params.expand(rows, len(params)), inverse
    )
    if isinstance(out, str):
        return out
    return out[0].reshape(inputs.shape), out[1]


def _own_spline_compiled(module: Any, inputs: Tensor, inverse: bool = False) -> Any:
    options = _options(module, None, module.unnormalized_widths.shape[-1])
    return options if isinstance(options, str) else _own_spline(options, module, inputs, inverse)


own_methods: dict[str, Any] = {"_spline": _own_spline}
own_compiled: dict[str, Any] = {"_spline": _own_spline_compiled}


# ---- autoregressive layers ------------------------------------------------------------------


def decide_autoregressive(module: Any, watch: Watch) -> SplineNetwork | str:
    """The plan of a masked autoregressive layer of splines."""
    watch.members(module)
    watch.attributes(module, _OPTIONS)
    net = module.autoregressive_net
    watch.attributes(net, _WIDTHS)
    options = _options(module, net)
    if isinstance(options, str):
        return options
    network, of_network = recognise(net)
    watch.include(of_network)
    return SplineNetwork(network, options)


def _forward(
    plan: Autoregressive, module: Any, inputs: Tensor, context: Tensor | None = None
) -> Any:
    if inputs.ndim != 2 or getattr(module, "tails", "linear") is None:
        return DEFER  # to the library's method, whose elementwise one is replaced, too
    if context is not None or plan.network is None:
        params = module.autoregressive_net(inputs, context)
    else:
        params = plan.network(inputs)
    return plan.map(inputs, params, False)


def _inverse(
    plan: Autoregressive, module: Any, inputs: Tensor, context: Tensor | None = None
) -> Any:
    if inputs.ndim != 2 or context is not None or getattr(module, "tails", "linear") is None:
        return DEFER
    if plan.degrees is not None:
        return plan.solve(inputs)
    if plan.network is None or not inputs.shape[1]:
        return DEFER
    return plan.iterate(inputs, inputs.shape[1])


def _affine_elements(inverse: bool) -> Any:
    """`_elementwise_forward` or `_elementwise_inverse` of affine layers."""

    def serve(
        plan: Autoregressive, module: Any, inputs: Tensor, autoregressive_params: Tensor
    ) -> Any:
        if inputs.ndim != 2:
            return REFUSED
        return plan.map(inputs, autoregressive_params, inverse)

    return serve


def _elementwise(
    plan: Autoregressive, module: Any, inputs: Tensor, autoregressive_params: Tensor,
    inverse: bool = False,
) -> Any:  # fmt: skip
    if inputs.ndim != 2:
        return REFUSED
    return _splines(module, plan.options, inputs, autoregressive_params, inverse)


def _elementwise_compiled(
    module: Any, inputs: Tensor, autoregressive_params: Tensor, inverse: bool = False
) -> Any:
    options = _options(module, module.autoregressive_net)
    if isinstance(options, str) or inputs.ndim != 2:
        return REFUSED
    return _splines(module, options, inputs, autoregressive_params, inverse)


solving_methods: dict[str, Any] = {"forward": _forward, "inverse": _inverse}
affine_methods: dict[str, Any] = solving_methods | {
    "_elementwise_forward": _affine_elements(False), "_elementwise_inverse": _affine_elements(True),
}  # fmt: skip
AFFINE_METHODS = ("_unconstrained_scale_and_shift", "_output_dim_multiplier")
AUTOREGRESSIVE_METHODS = (
    "_elementwise_forward", "_elementwise_inverse", "_output_dim_multiplier",
)  # fmt: skip
autoregressive_methods: dict[str, Any] = solving_methods | {"_elementwise": _elementwise}
autoregressive_compiled: dict[str, Any] = {"_elementwise": _elementwise_compiled}

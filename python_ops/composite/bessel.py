"""The functions of the Bessel family by name, in plain torch, and their derivatives.

The names are those of csrc/bindings/bessel_function.cpp; the derivative of each is another, by
way of the op, so that it runs through a kernel where there is one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._declaration import call
from . import log_iv as at
from . import vmf

Formula = Callable[[Tensor, float], Tensor]

# Of x and the order v; v is that of the denominator where the function is a ratio.
DEFINITIONS: dict[str, Formula] = {
    "log_iv": lambda x, v: at.log_iv(v, x),
    "log_iv_slope": lambda x, v: at.log_iv_derivative(v, x),
    "iv_ratio": lambda x, v: at.iv_ratio(v + 1, x),
    "iv_ratio_slope": lambda x, v: at.iv_ratio_derivative(v + 1, x),
    "vmf_log_normalizer": lambda x, v: vmf.vmf_log_normalizer(x, 2 * v + 2),
    "vmf_log_normalizer_relative": lambda x, v: vmf.vmf_log_normalizer(x, 2 * v + 2, True),
    "vmf_log_peak": lambda x, v: vmf.vmf_log_peak(x, 2 * v + 2),
    "vmf_divergence": lambda x, v: vmf.vmf_divergence(x, 2 * v + 2),
    "vmf_mean_resultant": lambda x, v: at.iv_ratio(v + 1, x),
    "vmf_mean_resultant_complement": lambda x, v: at.iv_ratio_complement(v + 1, x),
    "vmf_mean_resultant_slope": lambda x, v: at.iv_ratio_derivative(v + 1, x),
    "vmf_concentration": lambda x, v: vmf.vmf_concentration(x, 2 * v + 2),
    "vmf_concentration_complement": lambda x, v: vmf.vmf_concentration(
        x, 2 * v + 2, complement=True
    ),
}


def _at_order(x: Tensor, v: float, function: str) -> Tensor:
    out: Tensor = call("bessel", x, v, function)
    return out


def _slope(x: Tensor, v: float) -> Tensor:
    return _at_order(x, v, "vmf_mean_resultant_slope")


DERIVATIVES: dict[str, Formula] = {
    "log_iv": lambda x, v: _at_order(x, v, "log_iv_slope"),
    "log_iv_slope": lambda x, v: at.log_iv_derivative(v, x, 2),
    "iv_ratio": lambda x, v: _at_order(x, v, "iv_ratio_slope"),
    "iv_ratio_slope": lambda x, v: at.iv_ratio_derivative(v + 1, x, 2),
    "vmf_log_normalizer": lambda x, v: -_at_order(x, v, "vmf_mean_resultant"),
    "vmf_log_normalizer_relative": lambda x, v: -_at_order(x, v, "vmf_mean_resultant"),
    "vmf_log_peak": lambda x, v: _at_order(x, v, "vmf_mean_resultant_complement"),
    "vmf_divergence": lambda x, v: x * _slope(x, v),
    "vmf_mean_resultant": _slope,
    "vmf_mean_resultant_complement": lambda x, v: -_slope(x, v),
    "vmf_mean_resultant_slope": lambda x, v: at.iv_ratio_derivative(v + 1, x, 2),
    "vmf_concentration": lambda x, v: 1 / _slope(_at_order(x, v, "vmf_concentration"), v),
    "vmf_concentration_complement": lambda x, v: (
        -1 / _slope(_at_order(x, v, "vmf_concentration_complement"), v)
    ),
}


def bessel(x: Tensor, order: float, function: str) -> Tensor:
    """A function at one order."""
    return DEFINITIONS[function](x.to(torch.promote_types(x.dtype, torch.float32)), order)


def bessel_backward(grad: Tensor, x: Tensor, order: float, function: str) -> Tensor:
    """Its gradient in x."""
    return (grad * DERIVATIVES[function](x, order)).to(x.dtype)


def bessel_order(x: Tensor, order: Tensor, function: str) -> Tensor:
    """log_iv, iv_ratio or the slope of one, at an order for every element."""
    formulas = {
        "log_iv": lambda v: at.log_iv(v, x),
        "log_iv_slope": lambda v: at.log_iv_derivative(v, x),
        "iv_ratio": lambda v: at.iv_ratio(v + 1, x),
        "iv_ratio_slope": lambda v: at.iv_ratio_derivative(v + 1, x),
    }
    return formulas[function](order.double())


def bessel_order_backward(
    grad: Tensor, x: Tensor, order: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    """Its gradient in x; that in the order is refused by the op, and 0 here."""
    v = order.detach()
    if not function.endswith("_slope"):
        slope = call("bessel_order", x, v, f"{function}_slope")
    elif function.startswith("iv_ratio"):
        slope = at.iv_ratio_derivative(v.double() + 1, x, 2)
    else:
        slope = at.log_iv_derivative(v.double(), x, 2)
    return (grad * slope).to(x.dtype), torch.zeros_like(order)

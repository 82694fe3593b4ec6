"""The modified Bessel function of the first kind on a logarithmic scale, and its ratio.

The ops `bessel` (one order) and `bessel_order` (an order per element) also serve the
radial functions of the von Mises-Fisher distribution in vmf.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import reference
from ._library import entry, register

Formula = Callable[[Tensor, float], Tensor]

# Name of a function -> its definition in plain torch.
_DEFINITIONS: dict[str, Formula] = {
    "log_iv": lambda x, v: reference.log_iv(v, x),
    "log_iv_slope": lambda x, v: reference.log_iv_derivative(v, x),
    "iv_ratio": lambda x, v: reference.iv_ratio(v + 1, x),
    "iv_ratio_slope": lambda x, v: reference.iv_ratio_derivative(v + 1, x),
    "vmf_log_normalizer": lambda x, v: reference.vmf_log_normalizer(x, 2 * v + 2),
    "vmf_log_normalizer_relative": lambda x, v: reference.vmf_log_normalizer(x, 2 * v + 2, True),
    "vmf_log_peak": lambda x, v: reference.vmf_log_peak(x, 2 * v + 2),
    "vmf_divergence": lambda x, v: reference.vmf_divergence(x, 2 * v + 2),
    "vmf_mean_resultant": lambda x, v: reference.iv_ratio(v + 1, x),
    "vmf_mean_resultant_complement": lambda x, v: reference.iv_ratio_complement(v + 1, x),
    "vmf_mean_resultant_slope": lambda x, v: reference.iv_ratio_derivative(v + 1, x),
    "vmf_concentration": lambda x, v: reference.vmf_concentration(x, 2 * v + 2),
    "vmf_concentration_complement": lambda x, v: reference.vmf_concentration(
        x, 2 * v + 2, complement=True
    ),
}


def _slope(x: Tensor, v: float) -> Tensor:
    return bessel(x, v, "vmf_mean_resultant_slope")


# Name of a function -> its derivative, itself differentiable.
_DERIVATIVES: dict[str, Formula] = {
    "log_iv": lambda x, v: bessel(x, v, "log_iv_slope"),
    "log_iv_slope": lambda x, v: reference.log_iv_derivative(v, x, 2),
    "iv_ratio": lambda x, v: bessel(x, v, "iv_ratio_slope"),
    "iv_ratio_slope": lambda x, v: reference.iv_ratio_derivative(v + 1, x, 2),
    "vmf_log_normalizer": lambda x, v: -bessel(x, v, "vmf_mean_resultant"),
    "vmf_log_normalizer_relative": lambda x, v: -bessel(x, v, "vmf_mean_resultant"),
    "vmf_log_peak": lambda x, v: bessel(x, v, "vmf_mean_resultant_complement"),
    "vmf_divergence": lambda x, v: x * _slope(x, v),
    "vmf_mean_resultant": _slope,
    "vmf_mean_resultant_complement": lambda x, v: -_slope(x, v),
    "vmf_mean_resultant_slope": lambda x, v: reference.iv_ratio_derivative(v + 1, x, 2),
    "vmf_concentration": lambda x, v: 1 / _slope(bessel(x, v, "vmf_concentration"), v),
    "vmf_concentration_complement": lambda x, v: (
        -1 / _slope(bessel(x, v, "vmf_concentration_complement"), v)
    ),
}  # fmt: skip


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _reference(x: Tensor, order: float, function: str) -> Tensor:
    return _DEFINITIONS[function](x.to(_wide(x)), order)


def _backward_reference(grad: Tensor, x: Tensor, order: float, function: str) -> Tensor:
    return (grad * _DERIVATIVES[function](x, order)).to(x.dtype)


def _fake(x: Tensor, order: object, function: str) -> Tensor:
    return x.new_empty(x.shape, dtype=_wide(x))


def _fake_backward(grad: Tensor, x: Tensor, order: float, function: str) -> Tensor:
    return x.new_empty(x.shape)


register(
    "bessel",
    reference=_reference,
    backward_reference=_backward_reference,
    fake=_fake,
    fake_backward=_fake_backward,
)
_entry = entry("bessel", "x")


def bessel(x: Tensor, order: float, function: str) -> Tensor:
    """One of the functions of csrc/bindings/bessel_function.cpp at one order."""
    out: Tensor = _entry(x, order, function)
    return out


def _order_derivative(x: Tensor, order: Tensor, function: str) -> Tensor:
    if not function.endswith("_slope"):
        return _bessel_order(x, order, f"{function}_slope")
    if function.startswith("iv_ratio"):
        return reference.iv_ratio_derivative(order.double() + 1, x, 2)
    return reference.log_iv_derivative(order.double(), x, 2)


def _order_reference(x: Tensor, order: Tensor, function: str) -> Tensor:
    formulas = {
        "log_iv": lambda v: reference.log_iv(v, x),
        "log_iv_slope": lambda v: reference.log_iv_derivative(v, x),
        "iv_ratio": lambda v: reference.iv_ratio(v + 1, x),
        "iv_ratio_slope": lambda v: reference.iv_ratio_derivative(v + 1, x),
    }
    return formulas[function](order.double())


def _order_backward_reference(
    grad: Tensor, x: Tensor, order: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    slope = _order_derivative(x, order.detach(), function)
    return (grad * slope).to(x.dtype), torch.zeros_like(order)


def _order_fake_backward(
    grad: Tensor, x: Tensor, order: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), order.new_empty(order.shape)


register(
    "bessel_order",
    reference=_order_reference,
    backward_reference=_order_backward_reference,
    fake=_fake,
    fake_backward=_order_fake_backward,
)
_order_entry = entry("bessel_order", "x", "order")


def _bessel_order(x: Tensor, order: Tensor, function: str) -> Tensor:
    out: Tensor = _order_entry(x, order, function)
    return out


def number(op: str, argument: str, value: object) -> float:
    """A Python number as a float."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise TypeError(
        f"{op}: `{argument}` must be a torch.Tensor or a number, got {type(value).__name__}"
    )


def _evaluate(op: str, v: Tensor | float, x: Tensor | float, lowest: float) -> Tensor:
    """The function `op` at order v, or v - 1 where it is a ratio with I_v on top."""
    shift = 1.0 if op == "iv_ratio" else 0.0
    if not isinstance(x, Tensor):
        device = v.device if isinstance(v, Tensor) else "cpu"
        x = torch.full((), number(op, "x", x), dtype=torch.float64, device=device)
    if isinstance(v, Tensor):
        # As torch promotes: a 0-d order does not widen an x with dimensions.
        dtype = x.dtype if x.ndim and not v.ndim else torch.promote_types(v.dtype, x.dtype)
        orders, points = torch.broadcast_tensors(v.to(dtype), x.to(dtype))
        return _bessel_order(points, orders - shift, op)
    order = number(op, "v", v)
    if not (math.isfinite(order) and order >= lowest):
        raise ValueError(f"{op}: `v` must be a finite number >= {lowest:g}, got {order}")
    return bessel(x, order - shift, op)


def log_iv(v: Tensor | float, x: Tensor | float) -> Tensor:
    r"""The logarithm of the modified Bessel function of the first kind.

    .. math:: \log I_v(x), \qquad I_v(x) = \sum_j \frac{(x/2)^{2j+v}}{j!\,\Gamma(j+v+1)}

    Args:
        v: order, real and >= 0: a number, or a tensor broadcast against `x`.
        x: argument >= 0, float16, bfloat16, float32 or float64, or a number (float64).

    Returns:
        log I_v(x) in the broadcast shape, at least float32; -inf at x = 0 for v > 0, and
        finite wherever the true value is. The error is a few rounding errors of
        sqrt(v^2 + x^2) + v asinh(v/x) + abs(log I_v(x)), the size of its terms.
        Differentiable twice in `x`.

    Raises:
        ValueError: for a negative or non-finite order, or a negative `x`.
        NotImplementedError: where the gradient with respect to a tensor `v` is asked for.

    Source: NIST Digital Library of Mathematical Functions, 10.25.2 and 10.41.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.log_iv(391.5, torch.tensor([0.1, 785.0, 1e5], dtype=torch.float64))
        tensor([-3122.4827,   684.9545, 99992.5582], dtype=torch.float64)
    """
    return _evaluate("log_iv", v, x, 0.0)


def iv_ratio(v: Tensor | float, x: Tensor | float) -> Tensor:
    r"""The ratio of modified Bessel functions of successive order.

    .. math:: I_v(x) / I_{v-1}(x)

    Args:
        v: order of the numerator, real and >= 1/2: a number, or a tensor broadcast
            against `x`.
        x: argument >= 0, as for `log_iv`.

    Returns:
        The ratio, in [0, 1), in the broadcast shape, at least float32, to a few rounding
        errors. Differentiable twice in `x`.

    Raises:
        ValueError: for an order below 1/2 or non-finite, or a negative `x`.
        NotImplementedError: where the gradient with respect to a tensor `v` is asked for.

    Source: NIST Digital Library of Mathematical Functions, 10.29 and 10.41.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.iv_ratio(0.5, torch.tensor([0.0, 1.0])), torch.tensor(1.0).tanh()
        (tensor([0.0000, 0.7616]), tensor(0.7616))
    """
    return _evaluate("iv_ratio", v, x, 0.5)

"""The modified Bessel function of the first kind on a logarithmic scale, and its ratio.

The ops `bessel` (one order) and `bessel_order` (an order per element) also serve the
radial functions of the von Mises-Fisher distribution in vmf.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ._broadcast import common_batch, numbers
from ._declaration import Inputs, declare, public
from ._errors import check_floating, is_number
from ._fake import require_shape
from ._spread import spread
from .composite import bessel as formulas

DIM = 785  # S^784: Fashion-MNIST's flow


def kappas(size: tuple[int, ...]) -> tuple[Tensor]:
    """Concentrations in DIM dimensions, from where SciPy's route underflows to nothing on."""
    return (DIM * (0.25 + 2 * torch.rand(size, dtype=torch.float64)),)


def _fake(x: Tensor, order: object, function: str) -> Tensor:
    if isinstance(order, Tensor):
        require_shape("order", order, x.shape, "`x`")
    return x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, torch.float32))


_bessel = declare(
    "bessel",
    formula=formulas.bessel,
    backward_formula=formulas.bessel_backward,
    fake=_fake,
    whole=True,
)
_bessel_order = declare(
    "bessel_order",
    formula=formulas.bessel_order,
    backward_formula=formulas.bessel_order_backward,
    fake=_fake,
    whole=True,
)


def bessel(x: Tensor, order: float, function: str) -> Tensor:
    """One of the functions of csrc/bindings/bessel_function.cpp at one order."""
    try:
        out: Tensor = _bessel(x, order, function)
    except (TypeError, ValueError) as error:
        if not str(error).startswith("bessel"):
            raise
        check_floating(*_public_words(function), x)
        raise error from None
    return out


def _public_words(function: str) -> tuple[str, str]:
    """The public op of a function, and its argument."""
    op = function.removesuffix("_relative").removesuffix("_complement").removesuffix("_slope")
    return op, {"log_iv": "x", "iv_ratio": "x", "vmf_concentration": "r"}.get(op, "kappa")


# From here on an order's polynomials are useless, and squares leave the range of float32.
LARGE_ORDER = 2.0**50


def _evaluate(op: str, v: Any, x: Any, lowest: float) -> Tensor:
    """The function `op` at order v, or v - 1 where it is a ratio with I_v on top."""
    if not isinstance(x, Tensor):
        x = numbers(op, "x", x, device=v.device if isinstance(v, Tensor) else "cpu")
    if isinstance(v, (list, tuple)):
        check_floating(op, "x", x)
        v = numbers(op, "v", v, torch.promote_types(x.dtype, torch.float32), x.device)
    if isinstance(v, Tensor):
        check_floating(op, "x", x)
        if v.is_quantized or v.layout != torch.strided:
            check_floating(op, "v", v)
        return _at_orders(op, v, x)
    if not is_number(v):
        numbers(op, "v", v)  # says what is wrong with it
    order = float(v)
    # Comparisons, which torch.compile traces also where the number is an input of the graph.
    if not lowest <= order < math.inf:
        raise ValueError(f"{op}: `v` must be a finite number >= {lowest:g}, got {order}")
    if order > LARGE_ORDER:
        check_floating(op, "x", x)
        wide = torch.promote_types(x.dtype, torch.float32)
        orders = torch.full((), order, dtype=torch.float64, device=x.device)
        return _at_orders(op, orders, x.double()).to(wide)
    out = bessel(x, order - _shift(op), op)
    return _hyperbolic_tangent(x, out) if op == "iv_ratio" and order == 0.5 else out


def _shift(op: str) -> float:
    return 1.0 if op == "iv_ratio" else 0.0


def _at_orders(op: str, v: Tensor, x: Tensor) -> Tensor:
    """The function at an order for every element."""
    common_batch(op, [("v", v.shape), ("x", x.shape)])
    # As torch promotes: a 0-d order does not widen an x with dimensions, but keeps its digits.
    narrow = x.ndim > 0 and not v.ndim
    if narrow and v.dtype == torch.float64 != x.dtype and x.is_floating_point():
        return _at_orders(op, v, x.double()).to(torch.promote_types(x.dtype, torch.float32))
    dtype = x.dtype if narrow else torch.promote_types(v.dtype, x.dtype)
    orders = v.to(torch.promote_types(dtype, torch.float32))
    points = x.to(dtype)
    shape = torch.broadcast_shapes(orders.shape, points.shape)
    points, orders = spread(points, shape), orders.expand(shape)
    out: Tensor = _bessel_order(points, orders - _shift(op), op)
    if op == "iv_ratio":
        out = torch.where(orders == 0.5, _hyperbolic_tangent(points, out), out)
    return out


def _hyperbolic_tangent(x: Tensor, value: Tensor) -> Tensor:
    """I_{1/2} / I_{-1/2} = tanh, whose slope vanishes as exp(-2 x), with derivatives of that size.

    Those of the general formula are rounding errors of 1 / x^2.
    """
    e = torch.exp(-2 * x.to(value.dtype))
    tangent = (1 - e) / (1 + e)
    return (tangent + (value - tangent).detach()).contiguous()


@public(
    "bessel", "bessel_order",
    usage="log_iv(v, x)",
    same="`log I_v(x)` for real orders v; torch has no log-Bessel function",
    inputs=Inputs(
        tensors=kappas, before=(DIM / 2 - 1,), sizes="elements", dtypes=("float64",)
    ),
)  # fmt: skip
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


@public(
    "bessel", "bessel_order",
    usage="iv_ratio(v, x)",
    same="`I_v(x) / I_{v-1}(x)`",
    inputs=Inputs(tensors=kappas, before=(DIM / 2,), sizes="elements"),
)  # fmt: skip
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

"""The modified Bessel function of the first kind on a logarithmic scale, and its ratio.

The ops `bessel` (one order) and `bessel_order` (an order per element) also serve the
radial functions of the von Mises-Fisher distribution in vmf.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public
from ._spread import spread
from .composite import bessel as formulas

DIM = 785  # S^784: Fashion-MNIST's flow


def kappas(size: tuple[int, ...]) -> tuple[Tensor]:
    """Concentrations in DIM dimensions, from where SciPy's route underflows to nothing on."""
    return (DIM * (0.25 + 2 * torch.rand(size, dtype=torch.float64)),)


def _fake(x: Tensor, order: object, function: str) -> Tensor:
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
    out: Tensor = _bessel(x, order, function)
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
        points = spread(x.to(dtype), points.shape)
        out: Tensor = _bessel_order(points, orders - shift, op)
        return out
    order = number(op, "v", v)
    if not (math.isfinite(order) and order >= lowest):
        raise ValueError(f"{op}: `v` must be a finite number >= {lowest:g}, got {order}")
    return bessel(x, order - shift, op)


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

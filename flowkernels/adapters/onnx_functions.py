"""Functions that ONNX or its runtime lacks, from those that it has.

ONNX has no log1p, expm1, hypot, frexp or log-gamma; torch's exporter writes the first two as
log(1 + x) and exp(x) - 1, which lose all digits next to 0. The CPU kernels of onnxruntime leave out
atan, asinh, softplus and others in float64. Each function here is good to a few units in the last
place of its dtype, log-gamma to those of the larger of its value and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def log1p(x: Tensor) -> Tensor:
    """log(1 + x), by the quotient that undoes the rounding of 1 + x.

    Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), section 1.14.1.
    """
    u = 1 + x
    plain = (u == 1) | u.isinf()
    return torch.where(u == 1, x, torch.log(u) * torch.where(plain, 1.0, x / (u - 1)))


def expm1(x: Tensor) -> Tensor:
    """e^x - 1, likewise (Higham, section 1.14.1)."""
    u = torch.exp(x)
    inside = (u != 1) & (x.abs() < 1)
    safe = torch.where(inside, u, 2.0)
    near = torch.where(u == 1, x, (safe - 1) * (x / torch.log(safe)))
    return torch.where(inside | (u == 1), near, u - 1)


def hypot(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(x^2 + y^2), of the larger one and the quotient: squares stay in range."""
    x, y = torch.broadcast_tensors(x.abs(), y.abs())
    large, small = torch.maximum(x, y), torch.minimum(x, y)
    ratio = small / torch.where(large > 0, large, 1.0)
    ratio = torch.where(small == large, torch.where(large > 0, 1.0, 0.0).to(large.dtype), ratio)
    return large * torch.sqrt(1 + ratio * ratio)


def _arctangent(x: Tensor) -> Tensor:
    """Atan of 0 <= x <= 1: two halvings of the angle, then the series up to 0.2^27 / 27."""
    for _ in range(2):
        x = x / (1 + torch.sqrt(1 + x * x))
    square, total = x * x, torch.zeros_like(x)
    for k in range(12, -1, -1):
        total = total * square + (-1) ** k / (2 * k + 1)
    return 4 * x * total


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of (x, y); infinite coordinates give NaN."""
    y, x = torch.broadcast_tensors(y, x)
    large, small = torch.maximum(y.abs(), x.abs()), torch.minimum(y.abs(), x.abs())
    angle = _arctangent(small / torch.where(large > 0, large, 1.0))
    angle = torch.where(y.abs() > x.abs(), math.pi / 2 - angle, angle)
    angle = torch.where(x < 0, math.pi - angle, angle)
    return torch.where(y < 0, -angle, angle)


def atan(x: Tensor) -> Tensor:
    """The arctangent."""
    size = x.abs()
    inner = _arctangent(torch.where(size > 1, 1 / torch.where(size > 1, size, 1.0), size))
    out = torch.where(size > 1, math.pi / 2 - inner, inner)
    return torch.where(x < 0, -out, out)


def asinh(x: Tensor) -> Tensor:
    """log(x + sqrt(1 + x^2)), odd, with the digits of small x."""
    size = x.abs()
    far = size > 1e8
    near = torch.where(far, 1.0, size)
    out = log1p(near + near * near / (1 + torch.sqrt(1 + near * near)))
    out = torch.where(far, torch.log(torch.where(far, size, 1.0)) + math.log(2), out)
    return torch.where(x < 0, -out, out)


def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + e^(beta x)) / beta."""
    scaled = x * beta
    out = (scaled.clamp(min=0) + log1p(torch.exp(-scaled.abs()))) / beta
    return torch.where(scaled > threshold, x, out)


def log_sigmoid(x: Tensor) -> Tensor:
    """log(1 / (1 + e^-x))."""
    return x.clamp(max=0) - log1p(torch.exp(-x.abs()))


def elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """Scale (x, or alpha (e^(input_scale x) - 1) below 0)."""
    below = alpha * expm1(torch.where(x < 0, x, 0.0) * input_scale)
    return scale * torch.where(x < 0, below, x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """X, or negative_slope x below 0."""
    return torch.where(x < 0, x * negative_slope, x)


def xlogy(x: Tensor, y: Tensor) -> Tensor:
    """X log y, 0 for x = 0."""
    product = x * torch.log(torch.where(x == 0, 1.0, y))
    return torch.where(x == 0, torch.where(y.isnan(), y, 0.0), product)


# B_2k / (2k (2k - 1)), of Stirling's series (DLMF 5.11.1).
_STIRLING = (
    1 / 12,
    -1 / 360,
    1 / 1260,
    -1 / 1680,
    1 / 1188,
    -691 / 360360,
    1 / 156,
    -3617 / 122400,
)
_SHIFT = 10  # from here on eight terms have an error below 1e-16


def _log_gamma_positive(x: Tensor) -> Tensor:
    """Of x >= 1/2: Stirling's series at x + 10 if x < 10, divided by x (x + 1) ... (x + 9)."""
    low = x < _SHIFT
    small = torch.where(low, x, 1.0)
    product = small
    for k in range(1, _SHIFT):
        product = product * (small + k)
    z = torch.where(low, x + _SHIFT, x)
    inverse = 1 / z
    series = torch.zeros_like(z)
    for c in reversed(_STIRLING):
        series = series * inverse * inverse + c
    stirling = (z - 0.5) * torch.log(z) - z + math.log(2 * math.pi) / 2 + series * inverse
    return stirling - torch.where(low, torch.log(product), 0.0)


def lgamma(x: Tensor) -> Tensor:
    """log |Gamma(x)|; below 1/2 by the reflection formula (DLMF 5.5.3)."""
    wide = x.double()
    low = wide < 0.5
    above = _log_gamma_positive(torch.where(low, 1 - wide, wide))
    sine = torch.sin(math.pi * (wide - torch.floor(wide)))
    sine = torch.where(low, sine, 1.0)
    out = torch.where(low, math.log(math.pi) - torch.log(sine) - above, above)
    return out.to(x.dtype)


def frexp(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mantissa in [1/2, 1) and the exponent; 0 and what is not finite have exponent 0."""
    usual = (x != 0) & x.isfinite()
    size = torch.where(usual, x.abs(), 0.5)
    exponent = torch.floor(torch.log(size) / math.log(2)) + 1
    for _ in range(2):  # the logarithm of a power of 2 may be rounded
        half = torch.floor(exponent / 2)
        mantissa = size * torch.exp2(-half) * torch.exp2(half - exponent)
        exponent = torch.where(mantissa >= 1, exponent + 1, exponent)
        exponent = torch.where(mantissa < 0.5, exponent - 1, exponent)
    half = torch.floor(exponent / 2)
    mantissa = torch.where(usual, x * torch.exp2(-half) * torch.exp2(half - exponent), x)
    return mantissa, exponent.to(torch.int32)


def _in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, where onnxruntime has no kernel of its own: in float64."""

    def decomposed(x: Tensor, *args: Any, **options: Any) -> Any:
        return function(x, *args, **options) if x.dtype == torch.float64 else NotImplemented

    return decomposed


ELEMENTARY: dict[Any, Callable[..., Any]] = {
    aten.log1p.default: log1p,
    aten.expm1.default: expm1,
    aten.hypot.default: hypot,
    aten.lgamma.default: lgamma,
    aten.frexp.Tensor: frexp,
    aten.xlogy.Tensor: xlogy,
    aten.log_sigmoid.default: log_sigmoid,
    aten.log_sigmoid_forward.default: lambda x: (log_sigmoid(x), x.new_empty(0)),
    aten.atan2.default: atan2,
    aten.atan.default: _in_float64(atan),
    aten.asinh.default: _in_float64(asinh),
    aten.softplus.default: _in_float64(softplus),
    aten.elu.default: _in_float64(elu),
    aten.leaky_relu.default: _in_float64(leaky_relu),
}

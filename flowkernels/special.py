r"""The special functions on NumPy arrays, with SciPy's calling conventions.

All functions accept numbers, lists and arrays that broadcast. float32 and float64 arrays keep
their dtype; other inputs are computed in float64. If all inputs are numbers, the result is a
NumPy scalar. The kernels are those of `flowkernels.ops`, called without torch tensors. With
v = p/2 - 1, the functions of the von Mises-Fisher distribution on S^(p-1) of R^p are based on
log 0F1(; v+1; kappa^2/4), which is finite and accurate to the last bits for p = 2 to 1e6 and
kappa = 0 to 1e100, where SciPy's ive over- or underflows.

Source: NIST Digital Library of Mathematical Functions, 10.25, 10.29 and 10.41; Mardia & Jupp,
Directional Statistics (2000), 9.3.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ops._errors import flag
from .ops._extension import _C
from .ops.bessel import LARGE_ORDER

__all__ = [
    "iv_ratio",
    "log_iv",
    "vmf_concentration",
    "vmf_divergence",
    "vmf_log_normalizer",
    "vmf_log_peak",
    "vmf_mean_resultant",
]

Floating = NDArray[np.floating[Any]]
Result = Any  # an array, or a NumPy scalar for numbers


def _real(op: str, argument: str, value: ArrayLike) -> Floating:
    """The argument as an array of float32 or float64."""
    try:
        array = np.asarray(value)
    except RuntimeError as error:  # of tensors that want a gradient, or lie elsewhere
        raise TypeError(f"{op}: `{argument}` must be array_like of numbers: {error}") from None
    except ValueError as error:  # ragged lists
        raise ValueError(f"{op}: `{argument}` must be array_like of numbers: {error}") from None
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{op}: `{argument}` must be real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def _evaluate(function: str, x: Floating, order: float) -> Result:
    return _C.numpy_bessel(function, np.ascontiguousarray(x).reshape(x.shape), order)[()]


def _sphere_function(op: str, argument: str, value: ArrayLike, dim: int, function: str) -> Result:
    try:
        number = operator.index(dim)
    except TypeError:
        raise TypeError(f"{op}: `dim` must be an integer, got {type(dim).__name__}") from None
    if isinstance(dim, bool) or not 2 <= number <= LARGE_ORDER:
        raise ValueError(
            f"{op}: `dim` must be >= 2 (the sphere lies in R^dim) and at most 2^50, got {dim}"
        )
    x = _real(op, argument, value)
    _check(op, argument, x, 1.0 if op == "vmf_concentration" else np.inf)
    return _evaluate(function, x, number / 2 - 1)


def _check(op: str, argument: str, x: Floating, highest: float) -> None:
    """Raise ValueError with the first value out of range; NaN passes."""
    outside = (x < 0) | (x > highest)
    if outside.any():
        domain = "be >= 0" if highest == np.inf else f"lie in [0, {highest:g}]"
        raise ValueError(f"{op}: `{argument}` must {domain}, got {x[outside].flat[0]}")


def _order_function(op: str, v: ArrayLike, x: ArrayLike, lowest: float, shift: float) -> Result:
    orders, points = _real(op, "v", v), _real(op, "x", x)
    _check(op, "x", points, np.inf)
    bad = ~((orders >= lowest) & np.isfinite(orders))
    if bad.any():
        raise ValueError(f"{op}: `v` must be finite and >= {lowest:g}, got {orders[bad].flat[0]}")
    # A Python number takes the dtype of the other argument, as in NumPy.
    strong = [a for a, given in ((orders, v), (points, x)) if type(given) not in (int, float)]
    dtype = np.result_type(*strong) if strong else np.dtype(np.float64)
    points = points.astype(dtype, copy=False)
    if orders.ndim == 0 and float(orders) <= LARGE_ORDER:
        return _evaluate(op, points, float(orders) - shift)
    # A large order is one for each element (`LARGE_ORDER`), and leaves the range of float32.
    wide = np.dtype(np.float64) if orders.ndim == 0 else dtype
    try:
        pair = np.broadcast_arrays(points.astype(wide, copy=False), orders.astype(wide) - shift)
    except ValueError:
        raise ValueError(
            f"{op}: `v` and `x` must broadcast, got shapes {orders.shape} and {points.shape}"
        ) from None
    out = _C.numpy_bessel_order(op, *(np.ascontiguousarray(a).reshape(a.shape) for a in pair))
    with np.errstate(over="ignore"):
        return out.astype(dtype, copy=False)[()]


def log_iv(v: ArrayLike, x: ArrayLike) -> Result:
    r"""log I_v(x), the logarithm of the modified Bessel function of the first kind.

    Args:
        v: order, real and >= 0.
        x: argument >= 0; broadcast against `v`.

    Returns:
        The logarithm, -inf at x = 0 for v > 0, with an error of a few roundings of
        sqrt(v^2 + x^2) + v asinh(v/x) + abs(log I_v(x)).

    Raises:
        ValueError: for an order that is negative or not finite, a negative `x`, or shapes
            that do not broadcast.
        TypeError: for arguments that are not real numbers.

    Example:
        >>> import numpy as np
        >>> log_iv(391.5, np.array([0.1, 785.0, 1e5]))
        array([-3122.48265...,   684.95446..., 99992.55823...])
        >>> round(float(log_iv(0, 2.5)), 12), round(float(np.log(np.i0(2.5))), 12)
        (1.190838671196, 1.190838671196)
    """
    return _order_function("log_iv", v, x, 0.0, 0.0)


def iv_ratio(v: ArrayLike, x: ArrayLike) -> Result:
    r"""I_v(x) / I_{v-1}(x), in [0, 1), to a few rounding errors.

    Args:
        v: order of the numerator, real and >= 1/2.
        x: argument >= 0; broadcast against `v`.

    Raises:
        ValueError, TypeError: as `log_iv`, for an order below 1/2.

    Example:
        >>> float(iv_ratio(0.5, 1.0)), np.tanh(1.0)
        (0.76159415595576..., np.float64(0.76159415595576...))
        >>> iv_ratio([1.0, 10.0, 1e5], 1e5)
        array([0.99999..., 0.99990..., 0.41421...])
    """
    return _order_function("iv_ratio", v, x, 0.5, 1.0)


def vmf_log_normalizer(kappa: ArrayLike, dim: int, relative: bool = False) -> Result:
    r"""log C_p(kappa), the log normaliser of the von Mises-Fisher density, in nats.

    .. math:: \log C_p(\kappa) = (p/2 - 1) \log\kappa - (p/2) \log 2\pi
        - \log I_{p/2-1}(\kappa)

    Args:
        kappa: concentration >= 0.
        dim: p >= 2, the dimension of the space that holds the sphere.
        relative: return log C_p(kappa) - log C_p(0), which keeps its full relative accuracy
            where kappa is small.

    Raises:
        ValueError: for `dim` < 2 or a negative concentration.
        TypeError: for a `dim` that is not an integer or a `kappa` that is not real.

    Example:
        >>> vmf_log_normalizer([0.0, 1.0, 785.0], 785)
        array([1499.65384..., 1499.65320..., 1203.29396...])
        >>> vmf_log_normalizer(1e-100, 3, relative=True)
        np.float64(-1.6666666666666...e-201)
    """
    name = (
        "vmf_log_normalizer_relative"
        if flag("vmf_log_normalizer", "relative", relative)
        else "vmf_log_normalizer"
    )
    return _sphere_function("vmf_log_normalizer", "kappa", kappa, dim, name)


def vmf_log_peak(kappa: ArrayLike, dim: int) -> Result:
    r"""log C_p(kappa) + kappa, the log density at the mode, computed without cancellation.

    Args:
        kappa, dim: as for `vmf_log_normalizer`.

    Raises:
        ValueError, TypeError: as `vmf_log_normalizer`.

    Example:
        >>> float(vmf_log_peak(1e10, 3)), np.log(1e10 / (2 * np.pi))
        (21.1879738635..., np.float64(21.1879738635...))
    """
    return _sphere_function("vmf_log_peak", "kappa", kappa, dim, "vmf_log_peak")


def vmf_divergence(kappa: ArrayLike, dim: int) -> Result:
    r"""KL(vMF || uniform) = kappa A_p(kappa) + log C_p(kappa) - log C_p(0), in nats.

    Args:
        kappa, dim: as for `vmf_log_normalizer`.

    Raises:
        ValueError, TypeError: as `vmf_log_normalizer`.

    Example:
        >>> vmf_divergence([0.0, 1e-3, 10.0], 3)
        array([0.00000...e+00, 1.66666...e-07, 1.99573...e+00])
    """
    return _sphere_function("vmf_divergence", "kappa", kappa, dim, "vmf_divergence")


def vmf_mean_resultant(kappa: ArrayLike, dim: int, *, complement: bool = False) -> Result:
    r"""A_p(kappa) = I_{p/2}(kappa) / I_{p/2-1}(kappa) = E[loc.x].

    Args:
        kappa, dim: as for `vmf_log_normalizer`.
        complement: return 1 - A_p(kappa), accurate even where it is near 0.

    Raises:
        ValueError, TypeError: as `vmf_log_normalizer`.

    Example:
        >>> vmf_mean_resultant([0.0, 785.0], 785)
        array([0.        , 0.61822...])
        >>> vmf_mean_resultant(1e20, 3, complement=True)
        np.float64(1e-20)
    """
    name = (
        "vmf_mean_resultant_complement"
        if flag("vmf_mean_resultant", "complement", complement)
        else "vmf_mean_resultant"
    )
    return _sphere_function("vmf_mean_resultant", "kappa", kappa, dim, name)


def vmf_concentration(r: ArrayLike, dim: int, *, complement: bool = False) -> Result:
    r"""The concentration whose mean resultant length is r, the inverse of A_p.

    Args:
        r: in [0, 1]; the result at 1 is infinity.
        dim: p >= 2.
        complement: the argument is 1 - r, which is more accurate for r near 1.

    Raises:
        ValueError: for `dim` < 2 or values outside [0, 1].
        TypeError: as `vmf_log_normalizer`.

    Example:
        >>> vmf_concentration(vmf_mean_resultant([1.0, 785.0], 785), 785)
        array([  1., 785.])
        >>> vmf_concentration(1e-20, 3, complement=True)
        np.float64(1e+20)
    """
    name = (
        "vmf_concentration_complement"
        if flag("vmf_concentration", "complement", complement)
        else "vmf_concentration"
    )
    return _sphere_function("vmf_concentration", "r", r, dim, name)

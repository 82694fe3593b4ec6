"""Errors of any implementation at the points of the stored tables.

An implementation is a class with `name`, `radial(p, kappa)` (log C, log C - log C(0), A and A' as
arrays) and `log_iv(v, x)`. Its errors are relative, except those of log C and log I_v, which are
differences of large terms: these are relative to |log C| + L + lgamma(p/2) and
sqrt(v^2 + x^2) + v asinh(v/x) + |log I_v|. The error is infinite where the value is not finite
but the true value is.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from tests.reference.table import HERE, Column, load

Array = NDArray[np.float64]
RADIAL = ("log_c", "log_c_relative", "A", "dA")
QUANTITIES = (*RADIAL, "log_iv")


class Implementation(Protocol):
    """An implementation whose errors are measured."""

    name: str

    def radial(self, p: Array, kappa: Array) -> dict[str, Array]:
        """The quantities of RADIAL, elementwise."""

    def log_iv(self, v: Array, x: Array) -> Array:
        """log I_v(x)."""


def digest() -> str:
    """Digest of the tables, to check that stored errors belong to them."""
    text = b"".join((HERE / name).read_bytes() for name in ("vmf.csv", "log_iv.csv"))
    return hashlib.sha256(text).hexdigest()[:16]


def _log_iv_scale(v: Array, x: Array, log_iv: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        turn = np.where(v / x < 1e150, np.arcsinh(v / x), np.log(2 * v) - np.log(x))
        return np.hypot(v, x) + np.where(v > 0, v * turn, 0) + np.abs(log_iv)


def _over(column: Column, got: Array, scale: Array) -> Array:
    error = column.error(got)
    ratio = np.where(error == 0, 0.0, error / np.where(error == 0, 1.0, scale))
    return np.where(np.isnan(ratio), np.inf, ratio)


def errors(implementation: Implementation, single: bool = False) -> dict[str, Array]:
    """The error of every quantity at every point; NaN if `single` and x is not a float32 number."""
    tiny = float(np.finfo(np.float32 if single else np.float64).tiny)
    vmf, bessel = load("vmf.csv"), load("log_iv.csv")
    p, kappa, v, x = vmf["p"].value, vmf["kappa"].value, bessel["v"].value, bessel["x"].value
    out: dict[str, Array] = {}
    with np.errstate(all="ignore"):
        got = implementation.radial(p, kappa)
        for name in RADIAL:
            scale = np.maximum(np.abs(vmf[name].value), tiny)
            if name == "log_c":
                scale = scale - vmf["log_c_relative"].value + gammaln(p / 2)
            out[name] = _over(vmf[name], got[name], scale)
        log_iv = bessel["log_iv"]
        scale = _log_iv_scale(v, x, log_iv.value)
        out["log_iv"] = _over(log_iv, implementation.log_iv(v, x), scale)
        if single:
            for name in QUANTITIES:
                argument = x if name == "log_iv" else kappa
                exact = argument.astype(np.float32).astype(np.float64) == argument
                out[name] = np.where(exact, out[name], np.nan)
    return out

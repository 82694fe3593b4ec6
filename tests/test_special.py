"""The NumPy interface: values of the ops, NumPy's conventions, errors that name the argument."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowkernels import ops, special

from . import forked

KAPPA = np.array([0.0, 1e-30, 1e-3, 0.7, 12.0, 27.9, 28.1, 785.0, 1e6, 1e30])
SPHERE = {
    "vmf_log_normalizer": {},
    "vmf_log_peak": {},
    "vmf_divergence": {},
    "vmf_mean_resultant": {},
    "vmf_concentration": {},
}
OPTIONS = [
    ("vmf_log_normalizer", {"relative": True}),
    ("vmf_mean_resultant", {"complement": True}),
    ("vmf_concentration", {"complement": True}),
    *SPHERE.items(),
]
each_function = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)


@each_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_equal_the_ops(name, options, dtype):
    x = KAPPA / (1 + KAPPA) if name == "vmf_concentration" else KAPPA
    x = x.astype(dtype)
    for dim in (2, 57, 785):
        got = getattr(special, name)(x, dim, **options)
        assert got.dtype == dtype
        want = getattr(ops, name)(torch.from_numpy(x), dim, **options)
        np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("name", ["log_iv", "iv_ratio"])
def test_orders_broadcast(name):
    x = KAPPA[1:-1]
    v = np.array([[0.5], [10.0], [391.5]])
    got = getattr(special, name)(v, x)
    assert got.shape == (3, len(x))
    want = getattr(ops, name)(torch.from_numpy(v), torch.from_numpy(x))
    np.testing.assert_array_equal(got, want.numpy())
    # a single order uses another kernel
    one = getattr(special, name)(391.5, x)
    np.testing.assert_allclose(one, got[2], rtol=1e-14)
    # negative strides, and Fortran order
    np.testing.assert_array_equal(getattr(special, name)(v[::-1], x), got[::-1])
    strided = np.asfortranarray(np.tile(x, (4, 1)))[::2, ::-1]
    np.testing.assert_array_equal(getattr(special, name)(391.5, strided)[1], one[::-1])


@each_function
def test_numpy_conventions(name, options):
    function = getattr(special, name)
    half = function(0.5, 3, **options)
    assert isinstance(half, np.float64)
    for same in (np.float64(0.5), np.array(0.5), [0.5], np.array([[0.5]])):
        got = function(same, 3, **options)
        assert np.shape(got) == np.shape(same)
        np.testing.assert_array_equal(got, np.full(np.shape(same), half))
    assert function(np.float32(0.5), 3, **options).dtype == np.float32
    assert function(np.array([0, 1]), 3, **options).dtype == np.float64
    assert function(np.float16(0.5), 3, **options).dtype == np.float64
    assert function(np.empty((0, 3), np.float32), 3, **options).shape == (0, 3)
    grid = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(
        function(grid.T[::-1], 3, **options), function(grid, 3, **options).T[::-1]
    )
    assert np.isnan(function(np.nan, 3, **options))


def test_dtypes_of_two_arguments():
    narrow, wide = np.float32([1.0, 2.0]), np.float64([1.0, 2.0])
    for v, x, dtype in (
        (1.5, narrow, np.float32), (narrow, 1.5, np.float32), (narrow, narrow, np.float32),
        (wide, narrow, np.float64), (narrow, wide, np.float64), (1.5, 2.0, np.float64),
        (np.float64(1.5), narrow, np.float64), ([1, 2], narrow, np.float64),
    ):  # fmt: skip
        assert special.log_iv(v, x).dtype == dtype
        assert special.iv_ratio(v, x).dtype == dtype


@each_function
def test_errors_of_the_sphere(name, options):
    function = getattr(special, name)
    argument = "r" if name == "vmf_concentration" else "kappa"
    domain = r"lie in \[0, 1\]" if argument == "r" else "be >= 0"
    with pytest.raises(ValueError, match=f"{name}: `{argument}` must {domain}, got -2"):
        function([0.5, -2.0], 3, **options)
    with pytest.raises(ValueError, match=f"{name}: `dim` must be >= 2 .* got 1"):
        function(0.5, 1, **options)
    for bad, kind in ((2.5, "float"), ("3", "str")):
        with pytest.raises(TypeError, match=f"{name}: `dim` must be an integer, got {kind}"):
            function(0.5, bad, **options)
    for bad, kind in (("two", "<U3"), (1j, "complex128"), (True, "bool"), (None, "object")):
        with pytest.raises(TypeError, match=f"{name}: `{argument}` must be real .* {kind}"):
            function(bad, 3, **options)
    with pytest.raises(ValueError, match=f"{name}: `{argument}` must be array_like"):
        function([[0.1], [0.1, 0.2]], 3, **options)


def test_error_above_one():
    with pytest.raises(ValueError, match=r"vmf_concentration: `r` must lie in \[0, 1\], got 1.5"):
        special.vmf_concentration(1.5, 3)


@pytest.mark.parametrize(("name", "lowest"), [("log_iv", "0"), ("iv_ratio", "0.5")])
def test_errors_of_an_order(name, lowest):
    function = getattr(special, name)
    for bad in (-1.0, [2.0, -1.0], float("inf"), float("nan"), [2.0, np.nan]):
        with pytest.raises(ValueError, match=f"{name}: `v` must be finite and >= {lowest}, got"):
            function(bad, 1.0)
    for v in (2.0, [2.0, 3.0]):
        with pytest.raises(ValueError, match=f"{name}: `x` must be >= 0, got -3"):
            function(v, [1.0, -3.0])
    with pytest.raises(ValueError, match=rf"{name}: `v` and `x` .* \(2,\) and \(3,\)"):
        function([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=f"{name}: `v` must be real numbers"):
        function("a", 1.0)


def test_calls_no_torch_function():
    """A call works even if torch's constructors raise."""
    code = """
import torch
from flowkernels import special
def refuse(*a, **k): raise AssertionError("torch was called")
for name in ("tensor", "as_tensor", "from_numpy", "asarray", "empty", "zeros"):
    setattr(torch, name, refuse)
print(special.log_iv([1.0, 2.0], 3.0), special.vmf_divergence([1.0, 2.0], 3))
"""
    run = forked.run(code, cwd=Path.cwd())
    assert run.returncode == 0, run.stderr


def test_every_function_is_documented():
    for name in special.__all__:
        doc = getattr(special, name).__doc__
        for heading in ("Args:", "Raises:", "Example:", ">>>"):
            assert heading in doc, f"{name} has no {heading!r} section"

"""The stored tables equal the output of the script and agree with mpmath."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf

from .generate import HERE, tables
from .high_precision import SERIES_BELOW, _expansion, _series, bessel
from .points import DIMS, ORDERS
from .table import load


def test_script_reproduces_the_stored_tables() -> None:
    for name, (header, lines) in tables().items():
        stored = (HERE / name).read_text().splitlines()
        assert stored[0] == header
        assert len(stored) == len(lines) + 1
        for got, want in zip(lines, stored[1:], strict=True):
            assert got == want


# mpmath's besseli takes at most a few seconds up to these arguments
BY_MPMATH = [
    (v, x)
    for v in (0.0, 0.5, 2.75, 10.0, 27.75, 100.5, 391.5)
    for x in (1e-30, 1e-3, 0.7, 11.5, 28.0, 250.0, 299.0, 301.0, 785.0, 3000.0)
]


@pytest.mark.parametrize(("v", "x"), BY_MPMATH)
def test_agrees_with_mpmaths_bessel_functions(v: float, x: float) -> None:
    got = bessel(v, x)
    with mp.workdps(140):
        v_, x_ = mpf(v), mpf(x)
        own, above = mp.besseli(v_, x_, maxterms=10**6), mp.besseli(v_ + 1, x_, maxterms=10**6)
        ratio = above / own
        level = mp.log(own) - v_ * mp.log(x_ / 2) + mp.loggamma(v_ + 1)
        slope = 1 - ratio**2 - (2 * v_ + 1) * ratio / x_
        want = {
            "log_iv": mp.log(own), "L": level, "A": ratio, "B": 1 - ratio, "dA": slope,
            "KL": x_ * ratio - level, "M": x_ - level,
        }  # fmt: skip
        for key, value in want.items():
            assert abs(got[key] - value) <= mpf(10) ** -35 * abs(value), key


@pytest.mark.parametrize("v", [0, 3.5, 150.0, 2000.5])
def test_series_and_expansion_agree(v: float) -> None:
    with mp.workdps(60):
        x = mp.sqrt(mpf(SERIES_BELOW + 100) ** 2 + mpf(v) ** 2)
        series, expansion = _series(mpf(v), x), _expansion(mpf(v), x)
        for key, value in series.items():
            assert abs(expansion[key] - value) <= mpf(10) ** -40 * abs(value), key


def test_points_cover_every_region() -> None:
    vmf, log_iv = load("vmf.csv"), load("log_iv.csv")
    assert set(vmf["p"].value) == set(DIMS)
    assert set(log_iv["v"].value) == set(ORDERS)
    for order, x in ((vmf["p"].value / 2 - 1, vmf["kappa"].value),
                     (log_iv["v"].value, log_iv["x"].value)):  # fmt: skip
        h = np.hypot(order, x)
        for boundary, step in ((12, 1e-5), (28, 1e-14)):
            near = np.abs(h / boundary - 1) < step
            assert (near & (h < boundary)).any()
            assert (near & (h >= boundary)).any()
        with np.errstate(over="ignore"):  # float32 ends before 1e100
            exact = x == x.astype(np.float32)
        assert exact.mean() > 0.7
        assert x.max() == pytest.approx(1e100, rel=1)
        assert (order.min(), order.max() >= 499999) == (0, True)


def test_pair_of_doubles_keeps_22_digits() -> None:
    column = load("vmf.csv")["A"]
    assert (np.abs(column.rest) <= np.spacing(column.value) / 2).all()
    assert np.count_nonzero(column.rest) > len(column.rest) / 2
    exact = column.relative_error(column.value)
    assert exact.max() <= 2**-53
    wrong = column.relative_error(np.full_like(column.value, np.nan))
    assert np.isnan(wrong).all()

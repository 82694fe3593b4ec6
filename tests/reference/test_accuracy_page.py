"""The page of measured errors, and the stored errors of TFP."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the page compares with SciPy")
pytest.importorskip("matplotlib", reason="the page has a picture")

from benchmarks import accuracy, accuracy_page, files
from benchmarks.accuracy_errors import QUANTITIES, RADIAL, digest, errors
from benchmarks.accuracy_libraries import STORED, SciPy, tfp_errors

from .table import load

VMF, LOG_IV = load("vmf.csv"), load("log_iv.csv")


class Rounded:
    """The table with every value off by the same factor, and one row missing."""

    name = "rounded"

    def __init__(self, off: float) -> None:
        self.off = 1 + off

    def radial(self, p, kappa):
        out = {name: VMF[name].value * self.off for name in RADIAL}
        out["A"][7] = np.nan
        return out

    def log_iv(self, v, x):
        return LOG_IV["log_iv"].value * self.off


def test_errors_of_a_known_perturbation():
    found = errors(Rounded(1e-9))
    assert found["A"][7] == np.inf
    for name in ("log_c_relative", "A", "dA"):
        kept = np.isfinite(found[name]) & (VMF["kappa"].value > 0)
        np.testing.assert_allclose(found[name][kept], 1e-9, rtol=1e-4)
    for name in ("log_c", "log_iv"):  # relative to a scale larger than the value
        assert 1e-11 < found[name].max() <= 1.06e-9  # lgamma(p/2) is negative at p = 3
    exact = errors(Rounded(0.0))
    assert max(exact[name][np.isfinite(exact[name])].max() for name in QUANTITIES) < 1.2e-16


def test_single_precision_uses_only_float32_arguments():
    found = errors(Rounded(1e-9), single=True)
    left_out = np.isnan(found["dA"])
    with np.errstate(over="ignore"):  # float32 ends before 1e100
        single = np.float32(VMF["kappa"].value)
    assert (left_out == (single != VMF["kappa"].value)).all()
    assert 0 < left_out.sum() < len(left_out) / 2


def test_stored_tfp_errors_belong_to_these_tables():
    stored = json.loads(STORED.read_text())
    assert stored["tables"] == digest(), "run benchmarks.accuracy_libraries where TFP is installed"
    found = tfp_errors()
    assert found is not None
    name, rows = found
    assert name.startswith("TFP ")
    assert {len(rows[q]) for q in RADIAL} == {len(VMF["p"].value)}
    assert len(rows["log_iv"]) == len(LOG_IV["v"].value)


def test_scipy_overflows_where_the_page_says():
    found = errors(SciPy())
    assert np.isinf(found["log_c"]).mean() > 0.25
    easy = (VMF["p"].value < 30) & (VMF["kappa"].value > 5) & (VMF["kappa"].value < 1e3)
    assert found["log_c"][easy].max() < 1e-14


def test_page_and_picture(tmp_path):
    ours = accuracy.Ours(accuracy.torch.float64)
    found = {"ours": errors(ours), "rounded": errors(Rounded(1e-9))}
    sphere = (["random"], [("one", [1e-7]), ("other", [np.inf])])
    facts = dict.fromkeys(("date", "processor", "torch", "instruction_set"), "?")
    text = accuracy_page.page(
        found, p=VMF["p"].value, kappa=VMF["kappa"].value, v=LOG_IV["v"].value,
        x=LOG_IV["x"].value, slerp=sphere, stereographic=sphere, facts=facts,
    )  # fmt: skip
    assert "nan" not in text
    assert "1e-09 [1 of " in text
    assert "| other | not finite |" in text
    assert text.count("| all | all |") == len(QUANTITIES)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines}) <= 2
    figure = accuracy_page.picture(found, VMF["p"].value, VMF["kappa"].value)
    path = tmp_path / "picture.png"
    files.write(path, lambda p: figure.savefig(p, dpi=30))
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]

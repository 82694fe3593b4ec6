"""The radial functions of the von Mises-Fisher distribution against the stored table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy.special import gammaln
from torch import Tensor

from flowkernels import _C, ops
from flowkernels.ops import reference
from tests import forked
from tests.reference.high_precision import bessel
from tests.reference.points import DIMS
from tests.reference.table import Column, load
from tests.reliability.determinism import instruction_sets

from .accuracy import by_dim, gate, usable

TABLE = load("vmf.csv")
Function = Callable[[Tensor, int], Tensor]


def _slope(function: Function) -> Function:
    """Its derivative by autograd, itself differentiable."""

    def slope(kappa: Tensor, dim: int) -> Tensor:
        again = kappa.requires_grad  # the innermost of nested slopes runs the fused backward
        leaf = kappa if again else kappa.detach().requires_grad_()
        return torch.autograd.grad(function(leaf, dim).sum(), leaf, create_graph=again)[0]

    return slope


def _level(k: Tensor, dim: int) -> Tensor:
    return ops.vmf_log_normalizer(k, dim, relative=True)


def _complement(k: Tensor, dim: int) -> Tensor:
    return ops.vmf_mean_resultant(k, dim, complement=True)


def _times_kappa(column: Column) -> Column:
    """kappa times a column, with the rest of the product in 60 digits."""
    with mp.workdps(60):
        exact = [
            mpf(k) * (mpf(v) + mpf(r))
            for k, v, r in zip(TABLE["kappa"].value, column.value, column.rest, strict=True)
        ]
        value = np.array([float(e) for e in exact])
        return Column(
            value, np.array([float(e - mpf(v)) for e, v in zip(exact, value, strict=True)])
        )


def _minus(column: Column) -> Column:
    return Column(-column.value, -column.rest)


def _relative(name: str, column: Column, function: Function, float64: float, float32: float):
    allowed = {torch.float64: float64, torch.float32: float32}
    return pytest.param(name, column, function, allowed, id=name)


A, SLOPE, REST = TABLE["A"], TABLE["dA"], TABLE["complement"]
# Relative errors allowed in float64 and float32, from the arguments' exact values.
FUNCTIONS = [
    _relative("log_c - log_c0", TABLE["log_c_relative"], _level, 2e-15, 1e-6),
    _relative("A", A, ops.vmf_mean_resultant, 2e-15, 1e-6),
    _relative("dA", SLOPE, _slope(ops.vmf_mean_resultant), 5e-15, 2e-6),
    _relative("1 - A", REST, _complement, 5e-14, 4e-6),
    _relative("divergence", TABLE["divergence"], ops.vmf_divergence, 1e-14, 2e-6),
    # what autograd makes of the others
    _relative("d log_c", _minus(A), _slope(ops.vmf_log_normalizer), 2e-15, 1e-6),
    _relative("d(log_c - log_c0)", _minus(A), _slope(_level), 2e-15, 1e-6),
    _relative("dd log_c", _minus(SLOPE), _slope(_slope(ops.vmf_log_normalizer)), 5e-15, 2e-6),
    _relative("d(1 - A)", _minus(SLOPE), _slope(_complement), 5e-15, 2e-6),
    _relative("d peak", REST, _slope(ops.vmf_log_peak), 5e-14, 4e-6),
    _relative("dd peak", _minus(SLOPE), _slope(_slope(ops.vmf_log_peak)), 5e-15, 2e-6),
    _relative("d divergence", _times_kappa(SLOPE), _slope(ops.vmf_divergence), 5.5e-15, 2.2e-6),
]
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@each_dtype
@pytest.mark.parametrize(("name", "column", "function", "allowed"), FUNCTIONS)
def test_relative_error(
    name: str,
    column: Column,
    function: Function,
    allowed: dict[torch.dtype, float],
    dtype: torch.dtype,
) -> None:
    rows = usable(dtype, TABLE["kappa"])
    p, kappa = TABLE["p"][rows], TABLE["kappa"][rows]
    got = by_dim(p, kappa, function, dtype)
    # below the normal numbers, relative to the smallest of them
    smallest = torch.finfo(dtype).tiny
    gate(f"{dtype}", column[rows].relative_error(got, smallest), allowed[dtype], p, kappa)


@each_dtype
@pytest.mark.parametrize("name", ["log_c", "log_peak"])
def test_error_of_the_scale(name: str, dtype: torch.dtype) -> None:
    """log C within 1e-15 of |log C| + L + lgamma(p/2); the peak within 2e-15 of its terms."""
    rows = usable(dtype, TABLE["kappa"])
    p, kappa, exact = (TABLE[key][rows] for key in ("p", "kappa", name))
    function = ops.vmf_log_normalizer if name == "log_c" else ops.vmf_log_peak
    got = by_dim(p, kappa, function, dtype)
    level = -TABLE["log_c_relative"].value[rows]
    if name == "log_c":
        scale = np.abs(exact.value) + level + gammaln(p.value / 2)
    else:
        uniform = TABLE["log_c"].value[rows] + level
        scale = np.abs(exact.value) + np.abs(uniform) + np.abs(exact.value - uniform)
    allowed = {"log_c": 1e-15, "log_peak": 2e-15}[name]
    if dtype == torch.float32:
        allowed = 5e-7
    gate(name, exact.error(got) / scale, allowed, p, kappa)


@each_dtype
def test_concentration_inverts(dtype: torch.dtype) -> None:
    """From A below 0.999, from 1 - A above 1/2, where each says enough."""
    rows = usable(dtype, TABLE["kappa"])
    for complement in (False, True):
        allowed = {torch.float64: 1e-11, torch.float32: 2e-5 if complement else 2e-3}[dtype]
        kept = rows & ((A.value > 0.5) if complement else (A.value < 0.999))
        p, kappa = TABLE["p"][kept], TABLE["kappa"][kept]

        def there_and_back(k: Tensor, dim: int, complement: bool = complement) -> Tensor:
            r = ops.vmf_mean_resultant(k, dim, complement=complement)
            return ops.vmf_concentration(r, dim, complement=complement)

        errors = kappa.relative_error(by_dim(p, kappa, there_and_back, dtype))
        gate(f"complement {complement}", errors, allowed, p, kappa)


@pytest.mark.parametrize("complement", [False, True])
def test_derivatives_of_the_concentration(complement: bool) -> None:
    """1 / A' and -A'' / A'^3 at the concentration, A'' by differences of A'."""
    for dim in (2, 3, 57, 785, 100_003):
        k = torch.tensor([0.01, 0.3, 2.0], dtype=torch.float64) * dim
        r = ops.vmf_mean_resultant(k, dim, complement=complement).detach().requires_grad_()
        back = ops.vmf_concentration(r, dim, complement=complement)
        (first,) = torch.autograd.grad(back.sum(), r, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), r)
        sign = -1 if complement else 1
        for i, at in enumerate(back.tolist()):
            with mp.workdps(60):
                slope, step = bessel(mpf(dim) / 2 - 1, at)["dA"], mpf(at) * mpf(10) ** -12
                high, low = (bessel(mpf(dim) / 2 - 1, mpf(at) + s)["dA"] for s in (step, -step))
                curve = (high - low) / (2 * step)
                assert abs(first[i].item() * sign * slope - 1) < 1e-11
                assert abs(second[i].item() / (-curve / slope**3) - 1) < 1e-9


@each_dtype
@pytest.mark.parametrize("dim", DIMS[::3])
def test_nothing_jumps(dim: int, dtype: torch.dtype) -> None:
    """Across every boundary each function goes on as it did, to the rounding of its terms."""
    v, unit = dim / 2 - 1, torch.finfo(dtype).eps
    for h in (12.0, 28.0, max(v, 1.0) * 2**0.5):
        if h <= v:
            continue
        x = torch.tensor((h * h - v * v) ** 0.5, dtype=dtype)
        k = x * (1 + torch.arange(-40, 41, dtype=dtype) * unit * 4)
        # twice the errors that test_relative_error allows
        allowed = {_level: 20, ops.vmf_mean_resultant: 40, ops.vmf_divergence: 90}
        for function, units in allowed.items():
            for order in (function, _slope(function)):
                y = order(k, dim).detach().double()
                line = torch.stack([torch.ones_like(y), (k.double() / x.double() - 1)], -1)
                fit = line @ torch.linalg.lstsq(line, y[:, None]).solution
                assert ((y - fit[:, 0]).abs() <= units * unit * y.abs().max()).all()


@each_dtype
def test_log_prob_where_the_normaliser_has_lost_its_digits(dtype: torch.dtype) -> None:
    """The stable form: kappa |x - mu|^2 / 2 is subtracted from the log density at the mode."""
    for dim, kappa, angle in ((785, 1e5, 0.08), (785, 785.0, 0.9), (3073, 1e6, 0.05)):
        mu, x = torch.zeros(2, dim, dtype=torch.float64)
        mu[0], x[0], x[1] = 1, np.cos(angle), np.sin(angle)
        mu, x = mu.to(dtype), x.to(dtype)
        got = ops.vmf_log_prob(x, mu, kappa).item()
        with mp.workdps(60):
            apart = sum(
                (mpf(a) - mpf(b)) ** 2 for a, b in zip(x.tolist(), mu.tolist(), strict=True)
            )
            exact = bessel(mpf(dim) / 2 - 1, kappa)
            uniform = mp.loggamma(mpf(dim) / 2) - mp.log(2) - mpf(dim) / 2 * mp.log(mp.pi)
            want = uniform + exact["M"] - kappa * apart / 2
            scale = abs(uniform) + abs(exact["M"]) + kappa * apart / 2
            assert abs(got - want) <= 2 * torch.finfo(dtype).eps * scale


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets(isa: str) -> None:
    """Without fused multiply-adds, and with other widths, the roundings are others."""
    if isa not in _C.build_info()["cpu_isas_compiled"] or isa == _C.build_info()["cpu_isa"]:
        pytest.skip(f"{isa} is not compiled here, or it is what the other tests run")
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         str(here / "test_vmf_accuracy.py"), str(here / "test_log_iv_accuracy.py"),
         "-k", "relative_error or scale or inverts"],
        env={**os.environ, "FLOWKERNELS_CPU_ISA": isa},
        capture_output=True, text=True, cwd=here.parents[1], timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:]


# The gradient in kappa of draws, where the mean resultant and the cosine nearly cancel.
_GRADIENT_IN_KAPPA = """
import sys, torch
from flowkernels import ops
g = torch.Generator().manual_seed(0)
loc = torch.nn.functional.normalize(torch.randn(64, 1029, dtype=torch.float64, generator=g), dim=-1)
kappa = torch.full((64,), 1029.0, dtype=torch.float64)
x = ops.vmf_sample(loc, kappa, generator=g).float()
leaf = kappa.float().requires_grad_()
(grad,) = torch.autograd.grad(ops.vmf_log_prob(x, loc.float(), leaf).sum(), leaf)
sys.stdout.write(" ".join(v.hex() for v in grad.double().tolist()))
"""


def test_instruction_sets_agree_on_the_gradient_in_kappa() -> None:
    """Within 64 ulps of the largest element, a tenth of the terms 1 - A and |x - loc|^2 / 2."""
    found = {}
    for isa in instruction_sets():
        environment = {**os.environ, "FLOWKERNELS_CPU_ISA": isa}
        run = forked.run(_GRADIENT_IN_KAPPA, cwd=Path.cwd(), env=environment)
        assert run.returncode == 0, run.stderr
        found[isa] = np.array([float.fromhex(v) for v in run.stdout.split()])
    if len(found) < 2:
        pytest.skip("this machine runs the baseline kernels only")
    first, *others = found.values()
    for other in others:
        ulps = np.abs(other - first).max() / np.abs(first).max() / np.finfo(np.float32).eps
        assert ulps <= 64, found


def test_the_definition_itself_is_accurate_near_one() -> None:
    """Where 1 - A = 1.7e-4, and A says nothing about the concentration's last five digits."""
    c, kappa = 0.0001726678928337666, 182415.8855658599282  # mpmath, 50 digits
    given = torch.tensor([c], dtype=torch.float64)
    for function, accurate in (
        (ops.vmf_concentration, 1e-15),
        (reference.vmf_concentration, 1e-13),
    ):
        assert function(given, 64, complement=True).item() == pytest.approx(kappa, rel=accurate)
    back = reference.vmf_mean_resultant(torch.tensor([kappa], dtype=torch.float64), 64, True)
    assert back.item() == pytest.approx(c, rel=1e-13)

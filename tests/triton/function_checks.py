"""Elementary functions of the Triton kernels beside those of csrc/math; run by test_interpreted.

Where neither takes an exponential or a logarithm the two agree to the last bit: both evaluate the
same polynomials in the same order, here without fused multiply-adds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from flowkernels.ops.triton import bessel_order, elementary

HERE = Path(__file__).parent
COUNT = 512


@triton.jit
def _sine(a, b):
    return elementary.sincos(a)[0]


@triton.jit
def _cosine(a, b):
    return elementary.sincos(a)[1]


@triton.jit
def _exp(a, b):
    return elementary.exp(a)


@triton.jit
def _log(a, b):
    return elementary.log(a)


@triton.jit
def _log1p(a, b):
    return elementary.log1p(a)


@triton.jit
def _log1p_nonnegative(a, b):
    return elementary.log1p_nonnegative(a)


@triton.jit
def _tanh(a, b):
    return elementary.tanh(a)


@triton.jit
def _atan(a, b):
    return elementary.atan(a)


@triton.jit
def _log_gamma_1p(a, b):
    return bessel_order.log_gamma_1p(a)


@triton.jit
def _each(first, second, to, F: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(to + i, F(tl.load(first + i), tl.load(second + i)))


def _spread(low: float, high: float, signed: bool = True) -> Callable[[], Tensor]:
    def make() -> Tensor:
        g = torch.Generator().manual_seed(0)
        x = 10 ** (torch.rand(COUNT, dtype=torch.float64, generator=g) * (high - low) + low)
        return x * (torch.randint(0, 2, (COUNT,), generator=g) * 2 - 1) if signed else x

    return make


EDGES = torch.tensor(
    [0.0, 1e-45, 1e-40, 1.17549435e-38, 1e-30, 0.5, 0.6, 0.625, 1.0, 88.7, 104.0, 709.7, 3e38,
     float("inf"), float("nan")], dtype=torch.float64
)  # fmt: skip
SIGNED = torch.cat([EDGES, -EDGES])
# name: (Triton's function, random arguments, edges, ulps between the two)
FUNCTIONS: dict[str, tuple[Any, Callable[[], Tensor], Tensor, float]] = {
    "exp": (_exp, _spread(-8, 2.9), SIGNED, 3),
    "log": (_log, _spread(-44, 38, signed=False), SIGNED, 3),
    "log1p": (_log1p, _spread(-12, 30), SIGNED, 4),
    "log1p_nonnegative": (_log1p_nonnegative, _spread(-12, 30, signed=False), EDGES[:-3], 4),
    "tanh": (_tanh, _spread(-10, 1.5), SIGNED, 4),
    "atan": (_atan, _spread(-10, 10), SIGNED, 0),
    "atan2": (elementary.atan2, _spread(-10, 10), SIGNED[:13], 0),
    "atan2_quadrant": (elementary.atan2_quadrant, _spread(-10, 10, signed=False), EDGES[4:13], 0),
    "sine": (_sine, _spread(-6, 3.9), SIGNED[:11], 0),
    "cosine": (_cosine, _spread(-6, 3.9), SIGNED[:11], 0),
    "log_gamma_1p": (_log_gamma_1p, _spread(-6, 1.44, signed=False), EDGES[:9], 8),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CXX", "c++").split()
    assert shutil.which(compiler[0]), "the test-suite needs a C++ compiler"
    path = tmp_path_factory.mktemp("functions") / "functions"
    subprocess.run(
        [*compiler, "-std=c++20", "-O1", "-fno-math-errno", "-ffp-contract=off", "-Wno-psabi",
         str(HERE / "functions.cpp"), "-o", str(path)],
        check=True,
    )  # fmt: skip
    return path


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_copies_agree(name: str, dtype: torch.dtype, program: Path) -> None:
    function, spread, edges, allowed = FUNCTIONS[name]
    first = torch.cat([spread()[: COUNT - len(edges)], edges]).to(dtype)
    second = first.flip(0).contiguous()
    mine = torch.empty_like(first)
    _each[(1,)](first, second, mine, F=function, N=COUNT)
    kind = "float" if dtype == torch.float32 else "double"
    pairs = torch.stack([first, second], 1).numpy().tobytes()
    run = subprocess.run([str(program), name, kind], input=pairs, capture_output=True, check=True)
    theirs = torch.frombuffer(bytearray(run.stdout), dtype=dtype)
    same = (mine == theirs) | (mine.isnan() & theirs.isnan())
    scale = theirs.double().abs().clamp_min(torch.finfo(dtype).tiny)
    if name == "log_gamma_1p":  # whose stated error is that of max(result, v)
        scale = torch.maximum(scale, first.double())
    ulps = (mine.double() - theirs.double()).abs() / (torch.finfo(dtype).eps * scale)
    wrong = ~same & ~(ulps <= allowed)
    assert not wrong.any(), [
        f"{name}({a!r}, {b!r}) = {m!r}, csrc/math {t!r}"
        for a, b, m, t in zip(
            first[wrong].tolist(), second[wrong].tolist(), mine[wrong].tolist(),
            theirs[wrong].tolist(), strict=True,
        )
    ][:5]  # fmt: skip

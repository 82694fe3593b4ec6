"""Writes the polynomials and the quadrature of the mathematics, for C++ and for Triton.

Each polynomial interpolates its function at Chebyshev nodes in 60-digit arithmetic, which
is within a small factor of the minimax error.

    python csrc/math/tables/polynomials.py            # rewrite both files
    python csrc/math/tables/polynomials.py --print    # print them instead
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from mpmath import mp, mpf

ROOT = Path(__file__).parents[3]
HEADER = ROOT / "csrc/math/polynomials.h"
MODULE = ROOT / "python_ops/triton/polynomials.py"
DIGITS = (10, 19)  # in float32 and float64
NODES = 24

mp.dps = 60


def fit(f: Callable[[mpf], mpf], low: mpf, high: mpf, degree: int) -> list[mpf]:
    """Monomial coefficients, constant first, of the Chebyshev interpolant of f."""
    n = degree + 1
    nodes = [mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    xs = [(low + high) / 2 + (high - low) / 2 * c for c in nodes]
    table = mp.matrix(n, n)
    for i, x in enumerate(xs):
        for j in range(n):
            table[i, j] = x**j
    return list(mp.lu_solve(table, mp.matrix([f(x) for x in xs])))


def filled(f: Callable[[mpf], mpf], limit: mpf) -> Callable[[mpf], mpf]:
    """f with its removable singularity at 0 filled in."""
    return lambda x: limit if abs(x) < mpf(10) ** -40 else f(x)


def odd(f: Callable[[mpf], mpf], first: mpf, third: mpf) -> Callable[[mpf], mpf]:
    """z -> (f(x) - first x) / x^3 with z = x^2."""
    return filled(lambda z: (f(mp.sqrt(z)) / mp.sqrt(z) - first) / z, third)


LN2_HALF = mp.log(2) / 2 * mpf("1.001")
LOG_S_SQ = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mpf("1.001")
LOG1P_S_SQ = (mpf(1) / 3) ** 2 * mpf("1.001")
TANH_SQ = mpf("0.625") ** 2 * mpf("1.001")
ATAN_SQ = mpf("0.6") ** 2 * mpf("1.001")
QUARTER_PI_SQ = (mp.pi / 4) ** 2 * mpf("1.001")

# name: (what it is, function, low, high, degrees in float32 and float64)
POLYNOMIALS = {
    "exp": (
        "(e^r - 1 - r) / r^2, |r| <= log(2) / 2",
        filled(lambda r: (mp.expm1(r) - r) / r**2, mpf("0.5")), -LN2_HALF, LN2_HALF, (5, 11),
    ),
    "log": (
        "(2 atanh(s) - 2 s) / s^3 in s^2, s <= (sqrt(2) - 1) / (sqrt(2) + 1)",
        odd(lambda s: 2 * mp.atanh(s), mpf(2), mpf(2) / 3), mpf(0), LOG_S_SQ, (3, 7),
    ),
    "log1p": (
        "(2 atanh(s) - 2 s) / s^3 in s^2, s <= 1 / 3",
        odd(lambda s: 2 * mp.atanh(s), mpf(2), mpf(2) / 3), mpf(0), LOG1P_S_SQ, (4, 11),
    ),
    "tanh": (
        "(tanh(x) - x) / x^3 in x^2, |x| <= 0.625",
        odd(mp.tanh, mpf(1), -mpf(1) / 3), mpf(0), TANH_SQ, (5, 10),
    ),
    "atan": (
        "(atan(x) - x) / x^3 in x^2, |x| <= 0.6",
        odd(mp.atan, mpf(1), -mpf(1) / 3), mpf(0), ATAN_SQ, (6, 16),
    ),
    "sin": (
        "(sin(x) - x) / x^3 in x^2, |x| <= pi / 4",
        odd(mp.sin, mpf(1), -mpf(1) / 6), mpf(0), QUARTER_PI_SQ, (2, 6),
    ),
    "cos": (
        "(cos(x) - 1 + x^2 / 2) / x^4 in x^2, |x| <= pi / 4",
        filled(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, mpf(1) / 24),
        mpf(0), QUARTER_PI_SQ, (2, 6),
    ),
    "log_gamma": (
        "log Gamma(1 + f) / (f (f - 1)), 0 <= f <= 1",
        lambda f: mp.loggamma(1 + f) / (f * (f - 1)), mpf(0), mpf(1), (9, 20),
    ),
}  # fmt: skip
# Evaluated in pairs of terms in float32, which shortens the dependency chain.
IN_PAIRS = {"exp"}
# Polynomials that only Triton or only C++ uses.
ONLY_TRITON = {"tanh"}
ONLY_CPP = {"log", "log1p"}


def coefficients(name: str) -> list[list[str]]:
    """The coefficients of a polynomial as printed, constant first, in float32 and in float64."""
    _, f, low, high, degrees = POLYNOMIALS[name]
    return [
        [mp.nstr(c, digits) for c in fit(f, low, high, degree)]
        for degree, digits in zip(degrees, DIGITS, strict=True)
    ]


def quadrature() -> list[tuple[str, str]]:
    """Gauss-Legendre nodes in (0, 1/2) and their weights, for the interval (0, 1)."""
    out = []
    for k in range(NODES // 2):
        x = -mp.cos(mp.pi * (k + mpf("0.75")) / (NODES + mpf("0.5")))
        for _ in range(8):
            value, below = mp.legendre(NODES, x), mp.legendre(NODES - 1, x)
            slope = NODES * (below - x * value) / (1 - x**2)
            x -= value / slope
        out.append((mp.nstr((1 + x) / 2, 17), mp.nstr(1 / ((1 - x**2) * slope**2), 17)))
    return out


def wrapped(items: list[str], indent: str) -> list[str]:
    """A list over lines of at most 100 characters."""
    return textwrap.wrap(", ".join(items), 100, initial_indent=indent, subsequent_indent=indent)


def _horner(name: str, values: list[str], single: bool) -> list[str]:
    """The body of a function that evaluates a polynomial."""
    if single and name in IN_PAIRS:
        pairs = [
            f"fma(x, real<V>({b}), real<V>({a}))"
            for a, b in zip(values[::2], values[1::2], strict=True)
        ]
        return ["    const V z = x * x;", f"    return horner(z, {', '.join(pairs)});"]
    body = wrapped(["return horner(x", *values], "    ")
    return [*body[:-1], f"{body[-1]});"]


def header() -> str:
    """csrc/math/polynomials.h"""
    lines = [
        "// Polynomials of the elementary functions, and a quadrature.",
        "// Generated by csrc/math/tables/polynomials.py; do not edit.",
        "#pragma once",
        "",
        '#include "horner.h"',
        "",
        "FK_BEGIN",
        "",
        "// clang-format off",
    ]
    for name, (what, *_) in POLYNOMIALS.items():
        if name in ONLY_TRITON:
            continue
        single, double = coefficients(name)
        lines += [
            f"// {what}",
            "template <class V>",
            f"FK_HD V {name}_polynomial(V x) {{",
            "  if constexpr (is_single<V>) {",
            *_horner(name, single, True),
            "  } else {",
            *_horner(name, double, False),
            "  }",
            "}",
            "",
        ]
    lines += [
        "// Gauss-Legendre nodes in (0, 1/2) and their weights; symmetric about 1/2.",
        f"constexpr int quadrature_nodes = {NODES};",
    ]
    for title, values in zip(("node", "weight"), zip(*quadrature(), strict=True), strict=True):
        lines += [
            f"FK_HD double quadrature_{title}(int i) {{",
            "  static constexpr double c[] = {",
            *wrapped(list(values), "      "),
            "  };",
            "  return c[i];",
            "}",
        ]
    return "\n".join([*lines, "// clang-format on", "", "FK_END"]) + "\n"


def module() -> str:
    """python_ops/triton/polynomials.py"""
    lines = [
        '"""Polynomials of the elementary functions, and a quadrature: csrc/math/polynomials.h.',
        "",
        "Generated by csrc/math/tables/polynomials.py; do not edit.  Coefficients, constant first,",
        "in float32 and in float64.",
        '"""',
        "",
        "import triton.language as tl",
        "",
        "# fmt: off",
    ]
    for name, (what, *_) in POLYNOMIALS.items():
        if name in ONLY_CPP:
            continue
        lines += [f"# {what}", f"{name.upper()} = tl.constexpr(("]
        for values in coefficients(name):
            rows = wrapped(values, "     ")
            rows[0] = "    (" + rows[0].lstrip()
            lines += [*rows[:-1], f"{rows[-1]}),"]
        lines.append("))")
    lines.append("# Gauss-Legendre nodes in (0, 1/2) and their weights; symmetric about 1/2")
    for title, values in zip(("NODES", "WEIGHTS"), zip(*quadrature(), strict=True), strict=True):
        lines += [
            f"{title} = (",
            *(
                f"{row},"
                for row in ["    " + ", ".join(values[i : i + 4]) for i in range(0, len(values), 4)]
            ),
            ")",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in ((HEADER, header()), (MODULE, module())):
        if "--print" in sys.argv:
            print(text, end="")
        else:
            path.write_text(text)

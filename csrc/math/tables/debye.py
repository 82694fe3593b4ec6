"""Writes csrc/math/debye_coefficients.h: Debye's expansion in logarithmic form.

With U_k of DLMF 10.41.9, log sum_k U_k(t) / v^k = sum_k (t / v)^k d_k(t^2). The
recurrences run in exact rational arithmetic; each result is rounded once.

    python csrc/math/tables/debye.py            # rewrite the header
    python csrc/math/tables/debye.py --print    # print it instead
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

HEADER = Path(__file__).parents[1] / "debye_coefficients.h"
TERMS = 18
Polynomial = list[Fraction]


def expansion_polynomials(terms: int) -> list[Polynomial]:
    """U_0 ... U_terms, coefficients in ascending powers of t (DLMF 10.41.9)."""
    u: list[Polynomial] = [[Fraction(1)]]
    for _ in range(terms):
        following = [Fraction(0)] * (len(u[-1]) + 3)
        for i, c in enumerate(u[-1]):
            following[i + 1] += i * c / 2 + c / (8 * (i + 1))
            following[i + 3] -= i * c / 2 + 5 * c / (8 * (i + 3))
        u.append(following)
    return u


def logarithm(u: list[Polynomial]) -> list[Polynomial]:
    """D_1 ... D_K with log sum U_k z^k = sum D_k z^k: U_k = (1/k) sum_j j D_j U_{k-j}."""
    logs: list[Polynomial] = [[]]
    for k in range(1, len(u)):
        d = list(u[k])
        for j in range(1, k):
            for a, x in enumerate(logs[j]):
                if x:
                    for b, y in enumerate(u[k - j]):
                        d[a + b] -= Fraction(j, k) * x * y
        logs.append(d)
    return logs[1:]


def debye(terms: int = TERMS) -> list[Polynomial]:
    """d_1 ... d_K in ascending powers of q = t^2; d_1 = 1/8 - 5/24 q."""
    out = []
    for k, d in enumerate(logarithm(expansion_polynomials(terms)), 1):
        assert not any(d[i] for i in range(len(d)) if i < k or (i - k) % 2)
        out.append([d[k + 2 * i] for i in range(k + 1)])
    return out


def slope(d: list[Polynomial]) -> list[Polynomial]:
    """e_k = k d_k + 2 q d_k'."""
    return [[(k + 2 * i) * c for i, c in enumerate(p)] for k, p in enumerate(d, 1)]


def curvature(e: list[Polynomial]) -> list[Polynomial]:
    """m_k = e_k - (1 - q) ((k + 2) e_k + 2 q e_k')."""
    out = []
    for k, p in enumerate(e, 1):
        inner = [(k + 2 + 2 * i) * c for i, c in enumerate(p)]
        m = [a - b for a, b in zip(p, inner, strict=True)] + [Fraction(0)]
        for i, c in enumerate(inner):
            m[i + 1] += c
        out.append(m)
    return out


def table(name: str, comment: str, polynomials: list[Polynomial]) -> list[str]:
    flat = [f"T({float(c)!r})" for p in polynomials for c in p]
    lines = [f"// {comment}", "template <class T>", f"FK_HD const T* {name}() {{"]
    lines.append("  static constexpr T c[] = {")
    line = "     "
    for entry in flat:
        if len(line) + len(entry) + 2 > 100:
            lines.append(line)
            line = "     "
        line += f" {entry},"
    lines += [line, "  };", "  return c;", "}", ""]
    return lines


def header() -> str:
    d = debye()
    e = slope(d)
    lines = [
        "// Coefficients of Debye's expansion of log I_v, DLMF 10.41 in logarithmic form.",
        "// Made by csrc/math/tables/debye.py from exact rational recurrences; do not edit.",
        "//",
        "//   log I_v(x) = h - v asinh(v / x) - log(2 pi h) / 2 + sum_k S^k d_k(q),",
        "//   h = sqrt(v^2 + x^2), S = 1 / h, q = (v / h)^2",
        "//",
        "// Polynomial k = 1, 2, ... follows polynomial k - 1, constant term first.",
        "#pragma once",
        "",
        '#include "simd.h"',
        "",
        "FK_BEGIN",
        "",
        f"constexpr int debye_terms = {TERMS};",
        "",
        *table("debye_d", "d_k, degree k.", d),
        *table("debye_e", "e_k = k d_k + 2 q d_k', degree k.", e),
        *table(
            "debye_m", "m_k = e_k - (1 - q) ((k + 2) e_k + 2 q e_k'), degree k + 1.", curvature(e)
        ),
        "FK_END",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(header(), end="")
    else:
        HEADER.write_text(header())

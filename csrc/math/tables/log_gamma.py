"""Prints the polynomial coefficients of csrc/math/log_gamma.h.

log Gamma(1 + f) / (f (f - 1)) on [0, 1], interpolated at Chebyshev nodes in 60-digit
arithmetic, in ascending powers of f.

    python csrc/math/tables/log_gamma.py
"""

from __future__ import annotations

from mpmath import mp, mpf

DEGREES = {"float": 9, "double": 20}


def quotient(f: mpf) -> mpf:
    """log Gamma(1 + f) / (f (f - 1)) away from its removable singularities."""
    return mp.loggamma(1 + f) / (f * (f - 1))


def coefficients(degree: int) -> list[str]:
    """As printed in the header: 10 digits for float, 19 for double."""
    with mp.workdps(60):
        n = degree + 1
        xs = [(1 + mp.cos(mp.pi * (2 * k + 1) / (2 * n))) / 2 for k in range(n)]
        table = mp.matrix(n, n)
        for i, x in enumerate(xs):
            for j in range(n):
                table[i, j] = x**j
        solution = mp.lu_solve(table, mp.matrix([quotient(x) for x in xs]))
        return [mp.nstr(c, 10 if degree < 12 else 19) for c in solution]


if __name__ == "__main__":
    for name, degree in DEGREES.items():
        print(f"{name}: {', '.join(coefficients(degree))}")

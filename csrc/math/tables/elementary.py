"""Prints the polynomial coefficients of csrc/math/elementary.h.

Each polynomial interpolates its function at Chebyshev nodes in 60-digit
arithmetic, which is within a small factor of the minimax error.

    python csrc/math/tables/elementary.py
"""

from __future__ import annotations

from collections.abc import Callable

from mpmath import mp, mpf

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


def series_ratio(f: Callable[[mpf], mpf], limit: mpf) -> Callable[[mpf], mpf]:
    """f with its removable singularity at 0 filled in."""
    return lambda x: limit if abs(x) < mpf(10) ** -40 else f(x)


LN2_HALF = mp.log(2) / 2 * mpf("1.001")
ATAN_SQ = mpf("0.6") ** 2 * mpf("1.001")
QUARTER_PI_SQ = (mp.pi / 4) ** 2 * mpf("1.001")
LOG_S_SQ = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mpf("1.001")


def odd(f: Callable[[mpf], mpf], first: mpf, third: mpf) -> Callable[[mpf], mpf]:
    """z -> (f(x) - first x) / x^3 with z = x^2."""
    return series_ratio(lambda z: (f(mp.sqrt(z)) / mp.sqrt(z) - first) / z, third)


# name: (function, low, high, degree in float32, degree in float64)
POLYNOMIALS = {
    "exp: (e^r - 1 - r) / r^2": (
        series_ratio(lambda r: (mp.expm1(r) - r) / r**2, mpf("0.5")), -LN2_HALF, LN2_HALF, 5, 11
    ),
    "log: (2 atanh(s) - 2 s) / s^3 in s^2": (
        odd(lambda s: 2 * mp.atanh(s), mpf(2), mpf(2) / 3), mpf(0), LOG_S_SQ, 3, 7
    ),
    "atan: (atan(x) - x) / x^3 in x^2": (
        odd(mp.atan, mpf(1), -mpf(1) / 3), mpf(0), ATAN_SQ, 6, 16
    ),
    "sin: (sin(x) - x) / x^3 in x^2": (
        odd(mp.sin, mpf(1), -mpf(1) / 6), mpf(0), QUARTER_PI_SQ, 2, 6
    ),
    "cos: (cos(x) - 1 + x^2/2) / x^4 in x^2": (
        series_ratio(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, mpf(1) / 24),
        mpf(0), QUARTER_PI_SQ, 2, 6,
    ),
}  # fmt: skip


def main() -> None:
    for name, (f, low, high, single, double) in POLYNOMIALS.items():
        for label, degree, digits in (("float", single, 10), ("double", double, 19)):
            coefficients = fit(f, low, high, degree)
            points = [low + (high - low) * k / 400 for k in range(401)]
            worst = max(abs(mp.polyval(coefficients[::-1], x) - f(x)) for x in points)
            print(f"// {name}, {label}: max error {mp.nstr(worst, 3)}")
            print("   ", ", ".join(mp.nstr(c, digits) for c in coefficients))


if __name__ == "__main__":
    main()

"""Makes docs/accuracy.md and its picture from measured errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .accuracy_errors import Array

Errors = dict[str, dict[str, Array]]
Rows = NDArray[np.bool_]
Sphere = tuple[list[str], list[tuple[str, list[float]]]]

DIMS = {"2 to 25": (2, 25), "26 to 1000": (26, 1000), "1001 to 1e6": (1001, 1e6)}
SIZES = {
    "0 to 1": (0, 1),
    "1 to 1e3": (1, 1e3),
    "1e3 to 1e8": (1e3, 1e8),
    "to 1e100": (1e8, np.inf),
}
WHAT = {
    "log_c_relative": "log C(kappa) - log C(0), relative error",
    "A": "A(kappa), relative error",
    "dA": "A'(kappa), relative error",
    "log_c": "log C(kappa), error over |log C| + L + lgamma(p/2)",
}
HEAD = """# Accuracy

Largest errors over the stored tables of 22-digit values in `tests/reference` (written by `python -m
tests.reference.generate` with mpmath; the tests recompute them and check every kernel against its
error bound). This page is written by

    python -m benchmarks.accuracy

on {date} with {processor}, {instruction_set} kernels, torch {torch}, {peers}.

Compared are: our ops in float64 and in float32 (float32 arithmetic throughout, at the points
whose arguments are float32 numbers); SciPy's exponentially scaled `ive`, as in `scipy.stats` and
most VAE code; TensorFlow Probability's `log_bessel_ive` and `bessel_iv_ratio` in float64,
combined as in its `VonMisesFisher`{tfp}. For SciPy and TFP, A' is computed as
1 - A^2 - (p-1) A / kappa, and kappa = 0, which they do not support, is set to the uniform's values.
Brackets give the number of values that are not finite although the true values are; the error is
that of the others. An error of 1e-16 is the last bit of float64, 6e-8 that of float32.

Here p is the dimension of the surrounding space, v = p/2 - 1 and L = log C(0) - log C(kappa).

![Relative error of log C(kappa) - log C(0) over p and kappa](images/accuracy.png)
"""


def _cell(values: Array) -> str:
    """The largest finite error, and the number of errors that are not finite."""
    values = values[~np.isnan(values)]
    if not len(values):
        return "-"
    lost = int(np.isinf(values).sum())
    rest = values[np.isfinite(values)]
    largest = _number(rest.max()) if len(rest) else ""
    return f"{largest} [{lost} of {len(values)}]".strip() if lost else largest


def _number(value: float) -> str:
    return ("0" if value == 0 else f"{value:.0e}") if np.isfinite(value) else "not finite"


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _within(values: Array, low: float, high: float) -> Rows:
    inside: Rows = (values >= low) & (values <= high)
    return inside


def _regions(found: Errors, quantity: str, first: Array, second: Array, name: str) -> str:
    rows = []
    for dims, between in DIMS.items():
        for sizes, reach in SIZES.items():
            here = _within(first, *between) & _within(second, *reach)
            cells = [_cell(values[quantity][here]) for values in found.values()]
            rows.append([dims, sizes, *cells])
    cells = [f"**{_cell(values[quantity])}**" for values in found.values()]
    rows.append(["all", "all", *cells])
    return _table([name, "kappa" if name == "p" else "x", *found], rows)


def _sphere(rows: Sphere) -> str:
    headings, lines = rows
    body = [[name, *map(_number, values)] for name, values in lines]
    return _table(["", *headings], body)


def page(
    found: Errors,
    *,
    p: Array,
    kappa: Array,
    v: Array,
    x: Array,
    slerp: Sphere,
    stereographic: Sphere,
    facts: dict[str, Any],
) -> str:
    """The text of docs/accuracy.md."""
    tfp = any(name.startswith("TFP") for name in found)
    others = [name for name in found if not name.startswith("flowkernels")]
    parts = [
        HEAD.format(
            date=facts["date"][:10], processor=facts["processor"], torch=facts["torch"],
            instruction_set=facts["instruction_set"], peers=", ".join(others),
            tfp="" if tfp else " (not measured: it could not be imported)",
        )
    ]  # fmt: skip
    for quantity, title in WHAT.items():
        parts.append(f"## {title}\n\n{_regions(found, quantity, p, kappa, 'p')}")
    parts.append(
        "## log I_v(x), error over sqrt(v^2 + x^2) + v asinh(v/x) + |log I_v|\n\n"
        "At v = 0 and tiny x this scale is x itself, which log ive + x of SciPy and TFP loses.\n\n"
        + _regions(found, "log_iv", 2 * v + 2, x, "2v + 2")
    )
    parts.append(
        "## slerp in float32: largest error of a coordinate, by angle\n\n"
        "Unit vectors in 3, 128 and 785 dimensions, t = 0.3 and 0.999, against 60 digits.\n\n"
        + _sphere(slerp)
    )
    parts.append(
        "## Stereographic projection in float32, |z| from 1e-30\n\n"
        "For lengths |z| up to 1e3, 1e15 and 1e30, in 3 and 40 dimensions, against 120 digits.\n"
        "z rho: relative to its largest coordinate. log det: relative, or over the dimension\n"
        "where that is larger. Plain: z rho, 1 - rho, rho = 2 / (1 + |z|^2), and\n"
        "s / (1 - s_last) back.\n\n" + _sphere(stereographic)
    )
    return "\n".join(parts)


def picture(found: Errors, p: Array, kappa: Array) -> Any:
    """One panel per implementation: the error of log C - log C(0) at every point of the table."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    across = min(2, len(found))
    down = -(-len(found) // across)
    figure = Figure(figsize=(5 * across, 3.6 * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    left, right = 1e-14, 1e14
    x = np.where(kappa > 0, kappa, 2 * left)
    inside = (x > left) & (x < right)
    for axes, (name, errors) in zip(grid.flat, found.items(), strict=False):
        error = errors["log_c_relative"]
        lost, shown = inside & np.isinf(error), inside & np.isfinite(error)
        points = axes.scatter(
            x[shown], p[shown], c=error[shown], s=14, marker="s", cmap="viridis",
            norm=LogNorm(1e-17, 1e0, clip=True),
        )  # fmt: skip
        axes.plot(x[lost], p[lost], "x", color="red", ms=4, label="not finite")
        axes.set(xscale="log", yscale="log", title=name, xlim=(left, right))
        if lost.any():
            axes.legend(loc="lower right")
    for axes in grid[-1]:
        axes.set_xlabel("kappa (left edge: 0)")
    for axes in grid[:, 0]:
        axes.set_ylabel("p")
    figure.colorbar(points, ax=grid, label="relative error of log C(kappa) - log C(0)")
    return figure

"""python -m benchmarks.spherical_page: writes the measured tables of docs/spherical.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import files

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "spherical.md"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _error(value: float | None) -> str:
    return "fails" if value is None else f"{value:.1e}"


def solvers(found: dict[str, Any]) -> str:
    """A row for each p and kappa."""
    names = [name for name in found["rows"][0] if name not in ("p", "kappa")]
    rows = [
        [f"{row['p']}", f"{row['kappa']:g}", *(_error(row[name]) for name in names)]
        for row in found["rows"]
    ]
    return _table(["p", "kappa", *names], rows)


def shrinkage(found: dict[str, Any]) -> str:
    """Bias and error of each correction."""
    names = ("none", "resultant", "marginal")
    rows = []
    for row in found["rows"]:
        cells = [f"{row[f'{n} bias']:+.2g}, {row[f'{n} rmse']:.2g}" for n in names]
        rows.append([f"{row['p']}", f"{row['n']}", f"{row['kappa']:g}", f"{row['fits']}", *cells])
    return _table(["p", "n", "kappa", "fits", *names], rows)


def sampling(found: dict[str, Any]) -> str:
    """Thousands of points a second."""
    names = ("SciPy", "torch float64", "flowkernels float64", "flowkernels float32")
    rows = []
    for row in found["rows"]:
        cells = [f"{row[name] / 1000:.3g}" for name in names]
        times = row["flowkernels float64"]
        beside = [f"{times / row[name]:.1f}" for name in names[:2]]
        start = [f"{row['kappa']:g}", f"{row['threads']}", f"{row['busy']:g}"]
        rows.append([*start, *cells, *beside])
    head = ["kappa", "threads", "load", *names, "times SciPy", "times torch"]
    return _table(head, rows)


TABLES = {"solvers": solvers, "shrinkage": shrinkage, "sampling": sampling}


def written(page: str) -> str:
    """The page with its tables as the results have them."""
    for name, table in TABLES.items():
        found = json.loads((RESULTS / f"spherical_{name}.json").read_text())
        before, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        if not (start and end):
            raise ValueError(f"{PAGE.name} must have a table {name} between comments")
        page = before + start + table(found) + end + after
    return page


def main() -> None:
    """Writes the page."""
    files.write_text(PAGE, written(PAGE.read_text()))


if __name__ == "__main__":
    main()

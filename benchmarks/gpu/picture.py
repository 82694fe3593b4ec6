"""A picture of a run: the speed of every row relative to a copy of its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .table import by_label

LEAST = 0.02  # smaller ones, of calls that launches dominate, would be invisible
SHOWN = ("cuda", "triton", "compiled")


def draw(rows: list[dict[str, Any]], machine: dict[str, Any], path: Path) -> str | None:
    """Write the picture; returns the reason if there is none."""
    found = {
        name: each
        for name, each in by_label(rows).items()
        if any(r.get("fraction_of_copy", 0) >= LEAST for r in each.values())
    }
    if not found:
        return "no rows were timed"
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        return str(error)
    height = 1.5 + 0.18 * len(found)
    figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
    shown = [n for n in SHOWN if any("fraction_of_copy" in e.get(n, {}) for e in found.values())]
    width = 0.84 / len(shown)
    for shift, implementation in enumerate(shown):
        values = [
            each.get(implementation, {}).get("fraction_of_copy", 0) for each in found.values()
        ]
        places = [i + width * (shift - (len(shown) - 1) / 2) for i in range(len(found))]
        axes.barh(places, values, height=0.93 * width, label=implementation)
    axes.set_yticks(range(len(found)), list(found), fontsize=6)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("fraction of the speed of a copy of the same bytes")
    axes.set_title(f"{machine['gpu'].split(',')[0]}, {machine['commit'][:7]}", fontsize=9)
    axes.legend(loc="lower right")
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", dpi=110)
    plt.close(figure)
    partial.replace(path)
    return None

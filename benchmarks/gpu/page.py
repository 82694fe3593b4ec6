"""The tables of docs/gpu.md, from the results of a run; benchmarks.gpu.table publishes them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .rows import ELEMENTWISE, LAUNCH
from .table import Line, best, by_label

BEGIN = "<!-- the tables of `python -m benchmarks.gpu.table --publish` -->"
END = "<!-- end of the tables -->"
NAMES = {"eager": "plain torch", "compiled": "torch.compile", "triton": "Triton", "cuda": "CUDA"}
SMALL = 2000  # elements, up to which the cost of a call decides


def _table(head: list[str], rows: Iterator[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines, ""] if lines else []


def _name(row: Line) -> str:
    note = f", {row['note']}" if row.get("note") else ""
    dtype = "" if row["dtype"] == "float32" else f", {row['dtype']}"
    return f"`{row['op']}`{note}{dtype}"


def _columns(result: dict[str, Any], small: bool) -> tuple[list[str], list[dict[str, Line]]]:
    """The implementations that were timed, and the rows of small or of larger sizes."""
    rows = [
        each
        for each in by_label(result["rows"]).values()
        if (first := next(iter(each.values())))["op"] != "glow"
        and (math.prod(first["size"]) <= SMALL) == small
        and best(each.get("cuda", each.get("triton", {}))) is not None
    ]
    return [n for n in NAMES if any(best(each.get(n, {})) for each in rows)], rows


def _small(result: dict[str, Any]) -> list[str]:
    names, rows = _columns(result, small=True)

    def lines() -> Iterator[list[str]]:
        for each in rows:
            row = next(iter(each.values()))
            if row["direction"] == "forward+backward":
                continue
            cells = [_both(each.get(n, {})) for n in names]
            yield [_name(row), row["direction"], *cells]

    return _table(["op", "direction", *(NAMES[n] for n in names)], lines())


def _both(row: Line) -> str:
    if "us" not in row:
        return ""
    graph = f" ({row['graph_us']:.1f})" if "graph_us" in row else ""
    return f"{row['us']:.0f}{graph}"


def _large(result: dict[str, Any]) -> list[str]:
    names, rows = _columns(result, small=False)

    def lines() -> Iterator[list[str]]:
        for each in rows:
            row = next(iter(each.values()))
            size = " x ".join(f"{n:,}" for n in row["size"])
            yield [_name(row), size, row["direction"], *(_speed(each.get(n, {})) for n in names)]

    return _table(["op", "size", "direction", *(NAMES[n] for n in names)], lines())


def _speed(row: Line) -> str:
    time = best(row)
    if time is None:
        return ""
    fraction = f" ({row['fraction_of_copy']:.2f})" if "fraction_of_copy" in row else ""
    return f"{time:.1f}{fraction}"


def _glow(result: dict[str, Any]) -> list[str]:
    found = [r for r in result["rows"] if r.get("op") == "glow" and "us" in r]
    if not found:
        return []
    shape = "x".join(map(str, found[0]["size"]))
    lines = ["## A training step", "", f"A Glow on a batch of {shape}, float32: milliseconds.", ""]
    rows = (
        [NAMES.get(r["implementation"], r["implementation"])]
        + [f"{r[key] / 1e3:.2f}" if key in r else "not captured" for key in ("us", "graph_us")]
        for r in found
    )
    return lines + _table(["", "launched from Python", "in a CUDA graph"], rows)


def _training(result: dict[str, Any]) -> list[str]:
    found = [r for r in result.get("training", []) if "steps_per_second" in r and "layout" not in r]
    if not found:
        return []
    runs: dict[tuple[str, str], dict[str, float]] = {}
    for r in found:
        runs.setdefault((r["size"], r["precision"]), {})[r["loop"]] = r["steps_per_second"]
    loops = list(dict.fromkeys(r["loop"] for r in found))
    rows = (
        [f"{size}, {precision}", *(f"{each[loop]:.1f}" if loop in each else "" for loop in loops)]
        for (size, precision), each in runs.items()
    )
    return _table(["steps per second", *loops], rows)


def markdown(result: dict[str, Any]) -> str:
    """The tables of a run."""
    machine = result["machine"]
    gpu = machine["gpu"].split(",")[0]
    packages = machine["packages"]
    lines = [
        f"{gpu}, torch {packages['torch']}, commit {machine['commit'][:7]}, "
        f"{machine['date'][:10]}. float32 unless the row says otherwise.",
        "",
        "## Small inputs: the cost of a call",
        "",
        f"Microseconds of a call at {LAUNCH[0]} x {LAUNCH[1]} ({ELEMENTWISE[0][0]} elements where "
        "an op is elementwise), launched from Python; in brackets as part of a CUDA graph. A "
        "backward is one call of `torch.autograd.grad`.",
        "",
        *_small(result),
        "## Large inputs: the speed of the memory",
        "",
        "Microseconds of a call, the faster of launched and in a CUDA graph; in brackets the "
        "speed relative to a copy of the bytes that the op must read and write.",
        "",
        *_large(result),
        *_glow(result),
        *_training(result),
    ]
    return "\n".join(lines).rstrip()


def publish(result: dict[str, Any], page: Path) -> None:
    """Replace the tables between their markers."""
    before, mark, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{page.name} lacks the markers\n{BEGIN}\n{END}")
    page.write_text(f"{before}{BEGIN}\n\n{markdown(result)}\n\n{END}{after}")

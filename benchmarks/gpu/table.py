"""The rows of a run as text for the terminal; see page.py for docs/gpu.md.

python -m benchmarks.gpu.table RESULT.json            prints the rows
python -m benchmarks.gpu.table RESULT.json --publish  also writes the tables of docs/gpu.md
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import tree

Line = dict[str, Any]
IMPLEMENTATIONS = ("eager", "compiled", "normflows", "triton", "cuda")


def best(row: Line) -> float | None:
    """Microseconds of a call, or of a call in a CUDA graph if that is faster."""
    times = [row[key] for key in ("us", "graph_us") if key in row]
    return min(times) if times else None


def label(row: Line) -> str:
    """The label of a row, without the implementation."""
    note = f" ({row['note']})" if row.get("note") else ""
    return f"{row['op']}{note} {'x'.join(map(str, row['size']))} {row['dtype']} {row['direction']}"


def by_label(rows: Iterable[Line]) -> dict[str, dict[str, Line]]:
    """The implementations of each row."""
    found: dict[str, dict[str, Line]] = {}
    for row in rows:
        if "op" in row and "warm" not in row:
            found.setdefault(label(row), {})[row["implementation"]] = row
    return found


def _cell(row: Line | None) -> str:
    if row is None:
        return "-"
    time = best(row)
    if time is None:
        return "not timed"
    graph = f" ({row['graph_us']:.1f})" if "graph_us" in row else ""
    copy = f" {row['fraction_of_copy']:.2f}" if "fraction_of_copy" in row else ""
    return f"{row['us']:.1f}{graph}{copy}"


def text(sections: dict[str, list[Line]]) -> str:
    """Every row with all implementations; failures; the kernels alone; their counters."""
    parts = []
    rows = by_label(sections.get("rows", []))
    if rows:
        width = max(map(len, rows))
        head = f"{'microseconds (in a CUDA graph) fraction of a copy':{width}}"
        lines = [head + "".join(f"{n:>24}" for n in IMPLEMENTATIONS)]
        for name, each in rows.items():
            lines.append(
                f"{name:{width}}" + "".join(f"{_cell(each.get(n)):>24}" for n in IMPLEMENTATIONS)
            )
        parts.append("\n".join(lines))
    else:
        parts.append("no rows were timed")
    if kernels := [k for k in sections.get("driver", []) if "us" in k]:
        lines = ["kernels alone: microseconds, fraction of a copy"]
        for k in kernels:
            fraction = k.get("fraction_of_copy")
            lines.append(f"  {label(k)}: {k['us']:.1f}" + (f", {fraction:.2f}" if fraction else ""))
        parts.append("\n".join(lines))
    for name in ("smoke_cuda", "smoke_triton"):
        for line in sections.get(name, []):
            if (
                line.get("result", "right") != "right"
                or line.get("graph", "captured") != "captured"
            ):
                parts.append(f"{name}: {json.dumps(line)}")
    for line in sections.get("driver", []):
        if line.get("check", "passed") != "passed" or ("error" in line and "op" not in line):
            parts.append(f"driver: {json.dumps(line)}")
    for line in sections.get("tests", []):
        if line.get("outcome") == "failed":
            parts.append(f"test failed: {line['test']}: {line.get('error', '')[:200]}")
    for line in sections.get("training", []):
        parts.append(f"training: {json.dumps(line)}")
    for line in sections.get("profile", []):
        parts.append(f"profile: {json.dumps(line)}")
    return "\n".join(parts)


def geometric_mean(result: dict[str, Any], implementation: str) -> float | None:
    """The geometric mean of the speedups over the faster peer."""
    ratios = []
    for each in by_label(result["rows"]).values():
        ours = best(each.get(implementation, {}))
        peers = [t for n in ("eager", "compiled") if (t := best(each.get(n, {})))]
        if ours and peers:
            ratios.append(math.log(min(peers) / ours))
    return math.exp(sum(ratios) / len(ratios)) if ratios else None


def main() -> None:
    """Print or publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--publish", action="store_true")
    chosen = parser.parse_args()
    from . import page  # which imports this module

    result = json.loads(chosen.result.read_text())
    if chosen.publish:
        if result["kind"] != "gpu":
            sys.exit(
                f"{chosen.result.name} is a {result['kind']} and has no measurements to publish"
            )
        page.publish(result, tree.ROOT / "docs" / "gpu.md")
    print(text(result))
    for name in ("cuda", "triton"):
        if (mean := geometric_mean(result, name)) is not None:
            print(f"{name}: {mean:.2f} times as fast as the faster peer (geometric mean)")


if __name__ == "__main__":
    main()

"""The rows of a run as text for the terminal and as the table of docs/gpu.md.

python -m benchmarks.gpu.table RESULT.json            prints the rows
python -m benchmarks.gpu.table RESULT.json --publish  writes the table of docs/gpu.md
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
BEGIN = "<!-- the table of `python -m benchmarks.gpu.table --publish` -->"
END = "<!-- end of the table -->"


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


def markdown(result: dict[str, Any]) -> str:
    """Ours with the speedup over the faster of eager and compiled, and the fraction of a copy."""
    machine = result["machine"]
    gpu = machine["gpu"].split(",")[0]
    torch = machine["packages"]["torch"]
    lines = [
        f"{gpu}, torch {torch}, commit {machine['commit'][:7]}, {machine['date'][:10]}. "
        "Microseconds of a call, in brackets the speedup over the faster of eager torch and "
        "`torch.compile`, then the fraction of a copy's speed.",
        "",
        "| op | size | direction | CUDA | Triton |",
        "|---|---|---|---|---|",
    ]
    for each in by_label(result["rows"]).values():
        row = next(iter(each.values()))
        if row["op"] == "glow" or row["dtype"] != "float32":
            continue
        peers = [t for n in ("eager", "compiled") if (t := best(each.get(n, {})))]
        cells = [_against(each.get(n, {}), peers) for n in ("cuda", "triton")]
        note = f", {row['note']}" if row.get("note") else ""
        size = " x ".join(map(str, row["size"]))
        lines.append(f"| `{row['op']}`{note} | {size} | {row['direction']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _against(row: Line, peers: list[float]) -> str:
    time = best(row)
    if time is None:
        return "not timed"
    faster = f" ({min(peers) / time:.2f})" if peers else ""
    copy = f" {row['fraction_of_copy']:.2f}" if "fraction_of_copy" in row else ""
    return f"{time:.1f}{faster}{copy}"


def geometric_mean(result: dict[str, Any], implementation: str) -> float | None:
    """The geometric mean of the speedups over the faster peer."""
    ratios = []
    for each in by_label(result["rows"]).values():
        ours = best(each.get(implementation, {}))
        peers = [t for n in ("eager", "compiled") if (t := best(each.get(n, {})))]
        if ours and peers:
            ratios.append(math.log(min(peers) / ours))
    return math.exp(sum(ratios) / len(ratios)) if ratios else None


def publish(result: dict[str, Any], page: Path) -> None:
    """Replace the table between its markers."""
    before, mark, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{page.name} lacks the markers\n{BEGIN}\n{END}")
    page.write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{after}")


def main() -> None:
    """Print or publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--publish", action="store_true")
    chosen = parser.parse_args()
    result = json.loads(chosen.result.read_text())
    if chosen.publish:
        if result["kind"] != "gpu":
            sys.exit(
                f"{chosen.result.name} is a {result['kind']} and has no measurements to publish"
            )
        publish(result, tree.ROOT / "docs" / "gpu.md")
    print(text(result))
    for name in ("cuda", "triton"):
        if (mean := geometric_mean(result, name)) is not None:
            print(f"{name}: {mean:.2f} times as fast as the faster peer (geometric mean)")


if __name__ == "__main__":
    main()

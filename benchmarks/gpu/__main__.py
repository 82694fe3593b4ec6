"""python -m benchmarks.gpu [--output DIR]: builds, tests and times on the GPU of this machine.

From a bare checkout, with torch for CUDA, nvcc and (for its half) Triton, without network.
One JSON file holds everything; it is written again after every stage, so that what is known
survives whatever fails later. Ends within --seconds (460).

--rehearse runs the same machinery without a GPU, on the CPU's kernels and tiny sizes: it
needs the CPU extension in the checkout (pip install -e, or setup.py build_ext --inplace).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import stages, tree


def _output_of(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=tree.ROOT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({type(error).__name__}: {' '.join(command)})"
    return run.stdout.strip() if run.returncode == 0 else f"(exit status {run.returncode})"


def facts() -> dict[str, Any]:
    """Device, driver, versions, commit."""
    import importlib.metadata

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    packages = ("torch", "triton", "numpy", "pytest", "setuptools", "ninja")
    query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory"
    changed = _output_of("git", "status", "--porcelain", "--", "csrc", "python_ops", "flowkernels")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": os.environ.get("FLOWKERNELS_COMMIT") or _output_of("git", "rev-parse", "HEAD"),
        "uncommitted_changes": changed,
        "gpu": _output_of("nvidia-smi", query, "--format=csv,noheader"),
        "nvcc": _output_of("nvcc", "--version").splitlines()[-1:],
        "compiler": _output_of("c++", "--version").splitlines()[:1],
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
    }


def _rows(chosen: list[stages.Stage]) -> list[dict[str, Any]]:
    found = []
    for stage in chosen:
        if stage.rows and stage.rows.exists():
            for line in stage.rows.read_text().splitlines():
                try:
                    found.append(json.loads(line))
                except json.JSONDecodeError:  # the process ended in the middle of it
                    continue
    return found


def _save(result: dict[str, Any], path: Path) -> None:
    head = json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in result["rows"])
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}\n')
    partial.replace(path)


def _table(rows: list[dict[str, Any]]) -> str:
    """Microseconds of every contestant, and how near ours is to a copy."""
    names = ("eager", "compiled", "normflows", "triton", "cuda")
    by_row: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if "op" not in row:
            continue
        size = "x".join(map(str, row["size"]))
        note = f" ({row['note']})" if "note" in row else ""
        label = f"{row['op']}{note} {size} {row['dtype']} {row['direction']}"
        by_row.setdefault(label, {})[row["contestant"]] = row
    if not by_row:
        return "no rows were timed"
    width = max(map(len, by_row))
    head = f"{'microseconds (inside a graph); fraction of a copy':{width}}  "
    lines = [head + "".join(f"{n:>26}" for n in names)]
    for label, each in by_row.items():
        cells = []
        for name in names:
            row = each.get(name, {})
            cell = "-"
            if "us" in row:
                graph = f" ({row['graph_us']:.1f})" if "graph_us" in row else ""
                cell = f"{row['us']:.1f}{graph}"
                if "fraction_of_copy" in row:
                    cell += f" {row['fraction_of_copy']:.2f}"
            cells.append(f"{cell:>26}")
        lines.append(f"{label:{width}}  " + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    """Runs the stages one after the other; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=tree.ROOT / "benchmarks" / "results")
    parser.add_argument("--seconds", type=float, default=460, help="for everything")
    parser.add_argument("--only", nargs="+", help="only these stages, by name")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU")
    chosen = parser.parse_args()
    start = time.monotonic()
    output = chosen.output.resolve()
    logs = output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    tree.make(built_elsewhere=chosen.rehearse)
    planned = (stages.rehearsal if chosen.rehearse else stages.on_gpu)(output)
    for stage in planned:
        if stage.rows:
            stage.rows.unlink(missing_ok=True)
    machine = facts()
    kind = "rehearsal" if chosen.rehearse else "gpu"
    path = output / f"{machine['date'][:10]}-{machine['commit'][:7]}-{kind}.json"
    done: dict[str, stages.Outcome] = {}
    result: dict[str, Any] = {"kind": kind, "machine": machine, "stages": [], "rows": []}
    print(json.dumps(machine, indent=1), flush=True)
    for stage in planned:
        if chosen.only and stage.name not in chosen.only:
            continue
        left = chosen.seconds - (time.monotonic() - start)
        if chosen.only and "build" not in chosen.only:
            stage.needs = ()
        outcome = done[stage.name] = stages.run(stage, logs, left, done)
        print(
            f"{outcome.name}: {outcome.status}, {outcome.seconds:.0f} s {outcome.reason}",
            flush=True,
        )
        if outcome.status in ("failed", "timed out"):
            print(outcome.tail[-1500:], flush=True)
        result["stages"].append(outcome.facts())
        result["rows"] = _rows(planned)
        _save(result, path)
    print(_table(result["rows"]))
    print(f"wrote {path}, {time.monotonic() - start:.0f} s in all")
    return 1 if any(o.status in ("failed", "timed out") for o in done.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

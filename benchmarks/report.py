"""Writes timed rows as tables, a picture and a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import files
from .registry import LARGE

RowFacts = dict[str, Any]
# The goals on the CPU.
GEOMETRIC_MEAN_GOAL, ROW_GOAL = 3.5, 1.5
COPY_GOAL = {
    ("affine_coupling", LARGE, "forward"): 2.0, ("affine_coupling", LARGE, "forward+backward"): 2.5,
}  # fmt: skip
# The goal of the geometric mean is for these ops, at sizes below LARGE.
FLOW_OPS = (
    "affine_coupling", "stereographic", "stereographic_inverse", "slerp", "log_det_diagonal",
    "vmf_log_normalizer", "stereographic_vmf_log_prob",
)  # fmt: skip


def geometric_mean(values: Iterable[float]) -> float:
    """The exponential of the mean logarithm."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _size(row: RowFacts) -> str:
    return "x".join(map(str, row["size"]))


def _fastest(row: RowFacts, how: str) -> str:
    times = [t for name, t in row["microseconds"].items() if name.endswith(how)]
    return f"{min(times):.1f}" if times else "-"


def _colour(ratio: float, goal: float) -> str:
    return "green" if ratio >= goal else "red" if ratio < ROW_GOAL else "yellow"


def rows_table(rows: Sequence[RowFacts]) -> Table:
    """Every row: microseconds per call and the ratio to the fastest peer."""
    table = Table(title="microseconds per call; ratio = fastest peer / flowkernels, quartiles")
    for heading in ("op", "size", "dtype", "direction"):
        table.add_column(heading)
    for heading in ("threads", "flowkernels", "eager", "compiled", "ratio", "quartiles"):
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for row in rows:
        if previous not in (None, row["op"]):
            table.add_section()
        previous = row["op"]
        low, high = row["ratio_quartiles"]
        table.add_row(
            row["op"], _size(row), row["dtype"], row["direction"], str(row["threads"]),
            f"{row['microseconds']['flowkernels']:.1f}", _fastest(row, "eager"),
            _fastest(row, "compiled"),
            f"[{_colour(row['ratio'], GEOMETRIC_MEAN_GOAL)}]{row['ratio']:.2f}",
            f"{low:.2f}-{high:.2f}",
        )  # fmt: skip
    return table


def summary_table(rows: Sequence[RowFacts]) -> Table:
    """Geometric means and worst rows of each op."""
    table = Table(title="ratio to the fastest peer, by op")
    for heading in ("op", "forward", "forward+backward", "worst row"):
        table.add_column(heading)
    names = list(dict.fromkeys(row["op"] for row in rows))
    groups = {name: [row for row in rows if row["op"] == name] for name in names}
    of_flows = [r for r in rows if _is_of_flows(r)]
    if of_flows:
        groups[f"flow ops to 256x3072 float32, {_mean(of_flows)}"] = of_flows
    groups[f"all, {_mean(rows)}"] = list(rows)
    for name, own in groups.items():
        if name not in names:
            table.add_section()
        means = [
            geometric_mean(r["ratio"] for r in own if r["direction"] == direction)
            for direction in ("forward", "forward+backward")
        ]
        worst = min(own, key=lambda r: float(r["ratio"]))
        where = f"{worst['op']} {_size(worst)} {worst['dtype']} {worst['direction']}"
        table.add_row(
            name,
            *(f"[{_colour(m, GEOMETRIC_MEAN_GOAL)}]{m:.2f}" for m in means),
            f"[{_colour(worst['ratio'], ROW_GOAL)}]{worst['ratio']:.2f}[/] {where} "
            f"{worst['threads']}t",
        )
    return table


def _mean(rows: Sequence[RowFacts]) -> str:
    below = sum(r["ratio"] < ROW_GOAL for r in rows)
    mean = geometric_mean(r["ratio"] for r in rows)
    return f"{len(rows)} rows, {mean:.2f}, {below} below {ROW_GOAL}"


def _is_of_flows(row: RowFacts) -> bool:
    named = row["op"] in FLOW_OPS and row["dtype"] == "float32"
    return named and tuple(row["size"]) != LARGE


def memory_table(rows: Sequence[RowFacts]) -> Table:
    """The time of an op relative to a copy of the same bytes."""
    table = Table(title="ops and a copy of the same bytes, float32, microseconds")
    headings = ("op", "size", "direction", "threads", "flowkernels", "copy", "times a copy",
                "goal", "GB/s")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "op" else "right")
    for row in rows:
        times, size = 1 / row["ratio"], tuple(row["size"])
        goal = COPY_GOAL.get((row["op"], size, row["direction"]))
        mine, copy = (row["microseconds"][k] for k in ("flowkernels", "copy"))
        table.add_row(
            row["op"], "x".join(map(str, size)), row["direction"], str(row["threads"]),
            f"{mine:.0f}", f"{copy:.0f}",
            f"[{'green' if goal is None or times <= goal else 'red'}]{times:.2f}",
            f"{goal:.1f}" if goal else "", f"{row['bytes'] / mine / 1e3:.1f}",
        )  # fmt: skip
    return table


# Goals of a training step: the largest time relative to the peers in AT_MOST, the smallest speedup
# over the others.
STEP_GOALS = {
    ("realnvp", "networks"): 1.25, ("realnvp", "nflows"): 1.8, ("realnvp", "normflows"): 1.8,
    ("realnvp", "networks in torch"): 1.25, ("realnvp", "zuko"): 1.8,
    ("glow", "networks"): 1.10, ("glow", "normflows"): 1.0,
    ("glow bfloat16", "float32"): 1.5, ("glow recompute", "stored"): 1.45,
}  # fmt: skip
AT_MOST = ("networks", "networks in torch", "stored")


def steps_table(rows: Sequence[RowFacts]) -> Table:
    """Training steps compared with their networks alone, other libraries and other modes."""
    table = Table(title="training steps, milliseconds")
    for heading in ("step", "threads", "flowkernels", "peer", "its time", "ratio", "goal"):
        table.add_column(heading, justify="right")
    for row in rows:
        times = dict(row["microseconds"])
        mine = times.pop("flowkernels")
        for name, other in times.items():
            goal = STEP_GOALS[row["step"], name]
            most = name in AT_MOST
            ratio = mine / other if most else other / mine
            met = ratio <= goal if most else ratio >= goal
            table.add_row(
                row["step"], str(row["threads"]), f"{mine / 1e3:.2f}", name, f"{other / 1e3:.2f}",
                f"[{'green' if met else 'red'}]{ratio:.2f}[/] {'of it' if most else 'x faster'}",
                f"{'<=' if most else '>='} {goal:.2f}",
            )  # fmt: skip
    return table


SPECIAL_GOALS = {"scipy ive": 80.0, "randn": 1 / 1.5}


def special_table(rows: Sequence[RowFacts]) -> Table:
    """Nanoseconds per item, ours and the peer's."""
    table = Table(title="nanoseconds per item, one thread")
    for heading in ("what", "flowkernels", "peer", "its time", "speedup", "goal"):
        table.add_column(heading, justify="right")
    for row in rows:
        peer, goal = row["fastest_peer"], SPECIAL_GOALS[row["fastest_peer"]]
        mine, other = (1e3 * row["microseconds"][k] / row["items"] for k in ("flowkernels", peer))
        met = "green" if row["ratio"] >= goal else "red"
        table.add_row(
            row["what"], f"{mine:.1f}", peer, f"{other:.1f}", f"[{met}]{row['ratio']:.2f}",
            f"{goal:.2f}",
        )  # fmt: skip
    return table


PEAK_GOAL = 1.3


def peak_table(rows: Sequence[RowFacts]) -> Table:
    """The memory that a training step adds to the process, with 4 and 32 Glow steps."""
    table = Table(title="peak memory of a Glow's training step, MiB above the memory before it")
    for heading in ("activations", "4 steps", "32 steps", "ratio", "goal"):
        table.add_column(heading, justify="right")
    for row in rows:
        few, many = row["mebibytes"].values()
        wanted = row["way"] == "recompute"
        colour = "white" if not wanted else "green" if many / few <= PEAK_GOAL else "red"
        table.add_row(
            row["way"], f"{few:.0f}", f"{many:.0f}", f"[{colour}]{many / few:.2f}",
            f"<= {PEAK_GOAL}" if wanted else "",
        )  # fmt: skip
    return table


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables, a summary and the failed rows."""
    ops = [row for row in result["rows"] if row["kind"] == "op"]
    memory = [row for row in result["rows"] if row["kind"] == "memory"]
    if ops:
        console.print(rows_table(ops), summary_table(ops))
        mean = geometric_mean(row["ratio"] for row in ops)
        slow = sum(row["ratio"] < ROW_GOAL for row in ops)
        console.print(
            f"{len(ops)} rows: geometric mean {mean:.2f} (goal {GEOMETRIC_MEAN_GOAL}), "
            f"{slow} below {ROW_GOAL}"
        )
    if memory:
        console.print(memory_table(memory))
    if special := [row for row in result["rows"] if row["kind"] == "special"]:
        console.print(special_table(special))
    if steps := [row for row in result["rows"] if row["kind"] == "step"]:
        console.print(steps_table(steps))
        for name in steps[0]["missing"]:
            console.print(f"{name} is not installed: pip install 'flowkernels[peers]'")
    if peaks := [row for row in result["rows"] if row["kind"] == "peak"]:
        console.print(peak_table(peaks))
    for name, reason in result["refused"].items():
        console.print(f"[red]refused[/] {escape(f'{name}: {reason}')}", highlight=False)
    machine = result["machine"]
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['instruction_set']}; "
        f"torch {machine['torch']}; commit {machine['commit'][:10]}; {machine['date']}"
    )
    if result["clock"] == "cpu":
        console.print("microseconds of processor time: other work was running")
    elif machine["busy"] > 1.2:
        console.print(
            f"[yellow]Other work was running ({machine['busy']:.1f} processes per core): rows on "
            "several threads are unreliable."
        )


def save_json(result: dict[str, Any], path: Path) -> Path:
    """Write the result as JSON, one row per line."""
    head = {k: v for k, v in result.items() if k != "rows"}
    rows = ",\n".join(f"  {json.dumps(row)}" for row in result["rows"])
    text = json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n'
    return files.write_text(path, text)


def save_picture(result: dict[str, Any], path: Path) -> Path:
    """One dot per row: the ratio to the fastest peer, by op."""
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if row["kind"] == "op"]
    names = list(dict.fromkeys(row["op"] for row in rows))
    figure = Figure(figsize=(9, 1.5 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    for shift, direction, colour in ((-0.16, "forward", "C0"), (0.16, "forward+backward", "C1")):
        mine = [r for r in rows if r["direction"] == direction]
        heights = [names.index(r["op"]) + shift for r in mine]
        axes.plot([r["ratio"] for r in mine], heights, "o", color=colour, ms=5, alpha=0.6,
                  label=direction)  # fmt: skip
    axes.axvline(1, color="black", lw=1)
    axes.axvline(ROW_GOAL, color="0.6", lw=1, ls=":")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("speed relative to the faster of eager torch and torch.compile")
    machine = result["machine"]
    axes.set_title(
        f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, "
        f"commit {machine['commit'][:10]}",
        fontsize=9,
    )
    axes.legend()
    return files.write(path, lambda p: figure.savefig(p, dpi=130))

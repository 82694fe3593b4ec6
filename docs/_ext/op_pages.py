"""Writes a page for each public op into docs/ops, from the declarations and committed measurements.

The pages are not committed. What they say of backends follows from `python_ops/_declaration.py`,
their errors and charts from `benchmarks/results/every_op.json`.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import speed_chart
from sphinx.application import Sphinx

import flowkernels.ops
from flowkernels.ops._declaration import OPS, PUBLIC, PublicOp

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "ops"
RESULTS = ROOT / "benchmarks" / "results" / "every_op.json"
COMMAND = "python -m benchmarks.every_op"
FAMILIES = {
    "affine_coupling": "Affine couplings",
    "affine_coupling_mlp": "Networks",
    "autoregressive": "Autoregressive inverses",
    "bessel": "Bessel functions",
    "identity_split": "Affine couplings",
    "log_det": "Log-determinants",
    "mlp": "Networks",
    "rational_quadratic_spline": "Splines",
    "slerp": "The sphere",
    "stereographic": "The sphere",
    "tangent_normal": "The sphere",
    "vmf": "The von Mises-Fisher distribution",
    "vmf_mixture": "The von Mises-Fisher distribution",
    "vmf_sample": "The von Mises-Fisher distribution",
}
# The tables of docs/accuracy.md, against values of 22 and more digits.
HIGH_PRECISION = ("bessel", "vmf", "slerp", "stereographic")
Rows = list[dict[str, Any]]


def title_of(op: PublicOp) -> str:
    """The heading under which the list has the op."""
    return FAMILIES.get(op.family, op.family.replace("_", " ").capitalize())


def summary(op: PublicOp) -> str:
    """The first line of the docstring."""
    return (inspect.getdoc(op.function) or "").partition("\n")[0]


def served(op: PublicOp) -> str:
    """What runs the op on a CPU, on a GPU, and under higher derivatives."""
    kernels = [OPS[name] for name in op.served_by]
    lines = ["| | |", "|---|---|"]
    if op.name == "identity_split":
        lines.append("| CPU | views of torch's |")
    else:
        lines.append(
            "| CPU | compiled C++ for AVX-512, AVX2 or any processor, chosen when it is loaded |"
        )
    cuda = "compiled CUDA where the extension was built with it, else Triton"
    lines.append(f"| GPU | {op.on_gpu or cuda} |")
    if op.served_by != (op.name,):
        lines.append(f"| kernels | {', '.join(f'`{k.name}`' for k in kernels)} |")
    own = all(k.backward for k in kernels)
    first = "kernels of its own" if own else "that of the ops of which it consists"
    lines.append(f"| first derivative | {first} |")
    lines.append("| higher derivatives, forward mode | formulas in torch |")
    return "\n".join(lines)


def _error(row: dict[str, Any], name: str) -> str:
    if name not in row["errors"]:
        return ""
    value = row["errors"][name]
    return "not finite" if value is None else f"{value:.1e}"


def _size(row: dict[str, Any]) -> str:
    return "(" + ", ".join(map(str, row["size"])) + ("," if len(row["size"]) == 1 else "") + ")"


def machine_line(result: dict[str, Any]) -> str:
    """Where and how the results were measured."""
    machine = result["machine"]
    clock = "processor time" if result["clock"] == "cpu" else "wall time"
    if machine["busy"] > 1:
        clock += " beside other work"
    return (
        f"{machine['processor']} ({machine['instruction_set']}), torch {machine['torch']}, one "
        f"thread, {clock}, commit {machine['commit'][:7]}, {machine['date'][:10]}; `{COMMAND}`"
    )


PEERS = {"plain": "formula in torch", "definition": "definition in torch"}
DIRECTIONS = {"forward": "result", "forward+backward": "gradients"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of figures, whose cells are not broken into lines."""
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f":::{{div}} figures\n{text}\n:::\n"


def accuracy(op: PublicOp, rows: Rows, result: dict[str, Any]) -> str:
    """The measured errors."""
    measured = [row for row in rows if "errors" in row]
    text = []
    if measured:
        peers = [name for name in PEERS if name in measured[0]["errors"]]
        text += [
            "The largest error of an element over the largest element, against the definition in "
            f"float64 at the same {measured[0]['dtype']} arguments"
            + (f", and that of the {PEERS[peers[0]]}" if peers else "")
            + ":\n",
            table(
                ["size", "of the", "op", *(PEERS[name] for name in peers)],
                [
                    [_size(row), DIRECTIONS[row["direction"]]]
                    + [_error(row, name) for name in ("flowkernels", *peers)]
                    for row in measured
                ],
            ),
            f"\nMeasured on {machine_line(result)}.",
        ]
    elif op.random:
        text.append(
            "The results are drawn, so a single call has no error. The test suite compares their "
            "distribution with the exact one."
        )
    else:
        text.append("No error of this op is in the committed measurements.")
    if op.family in HIGH_PRECISION:
        text.append(
            "\n[Accuracy](../accuracy.md) has the errors of its family over the whole domain, "
            "against values of 22 digits or more."
        )
    return "\n".join(text)


def speed(op: PublicOp, rows: Rows, result: dict[str, Any], refused: dict[str, str]) -> str:
    """The chart and its numbers."""
    if not rows:
        return "The speed of this op is not in the committed measurements."
    text = [
        "How many times as long the fastest formula in eager torch takes; the line is equal "
        "speed.\n",
        f'<div class="chart">\n{speed_chart.svg(op.name, rows)}\n</div>\n',
        table(
            ["size", "", "op, us", "torch, us", "ratio", "quartiles", "fastest in torch"],
            [_speed_row(row) for row in rows],
        ),
        f"\nMedians of interleaved rounds, {rows[0]['dtype']}: {machine_line(result)}. The "
        "formulas in torch are those of `benchmarks/plain.py`; [Speed](../speed.md) has "
        "comparisons with `torch.compile` and other libraries.",
    ]
    if op.random:
        text.append("\nTorch's formula has no derivative, so only the forward is compared.")
    if mine := [label for label in refused if label.startswith(f"{op.name}-")]:
        text.append(f"\nNot measured: {', '.join(mine)}.")
    return "\n".join(text)


def _time(microseconds: float) -> str:
    return f"{microseconds:,.0f}" if microseconds >= 100 else f"{microseconds:.3g}"


def _speed_row(row: dict[str, Any]) -> list[str]:
    times, peer, (low, high) = row["microseconds"], row["fastest_peer"], row["ratio_quartiles"]
    figures = [_time(times["flowkernels"]), _time(times[peer]), f"{row['ratio']:.2f}"]
    return [_size(row), row["direction"], *figures, f"{low:.2f} to {high:.2f}",
            PEERS[peer].partition(" ")[0]]  # fmt: skip


def page(op: PublicOp, result: dict[str, Any]) -> str:
    """An op's page in Markdown."""
    rows = [row for row in result["rows"] if row["op"] == op.name]
    return f"""\
# {op.name}

```{{eval-rst}}
.. autofunction:: flowkernels.ops.{op.name}
```

## In plain torch

`ops.{op.usage}` is

{op.same}

This defines the op. The op computes differently: it stays accurate where formulas overflow, cancel
or divide 0 by 0.

## What serves it

{served(op)}

[`flowkernels.backends()`](../api/flowkernels.md) says what serves it where you run it, and why;
[GPU](../guides/gpu.md), what has been tested and measured there.

## Accuracy

{accuracy(op, rows, result)}

## Speed

{speed(op, rows, result, result["refused"])}
"""


def index() -> str:
    """The list of the ops."""
    text = [
        "# Ops, one by one\n",
        "```{eval-rst}\n.. py:module:: flowkernels.ops\n```\n",
        "Every op is an ordinary function of tensors: any batch shape and strides, float16 and "
        "bfloat16 (computed in float32), float32 and float64; first and second derivatives, "
        "forward mode, `vmap`, and `torch.compile` without graph breaks. Each page has the "
        "formula, the arguments, the equivalent in plain torch, what runs it, its error and its "
        "speed.\n",
    ]
    titles = dict.fromkeys([*FAMILIES.values(), *map(title_of, PUBLIC.values())])
    families = {title: [op for op in PUBLIC.values() if title_of(op) == title] for title in titles}
    for title, ops in families.items():
        text.append(f"## {title}\n")
        text += [f"[{op.name}]({op.name}.md)\n: {summary(op)}\n" for op in ops]
    text += ["```{toctree}", ":hidden:", ""]
    text += [op.name for ops in families.values() for op in ops]
    text += ["```", ""]
    return "\n".join(text)


def write(folder: Path = FOLDER) -> list[Path]:
    """Writes the pages that have changed, and removes those of ops that are gone."""
    result = {"rows": [], "refused": {}}
    if RESULTS.exists():
        result = json.loads(RESULTS.read_text())
    pages = {folder / f"{name}.md": page(op, result) for name, op in PUBLIC.items()}
    pages[folder / "index.md"] = index()
    folder.mkdir(exist_ok=True)
    for old in set(folder.glob("*.md")) - set(pages):
        old.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return sorted(pages)


def _write(app: Sphinx) -> None:
    assert flowkernels.ops.__all__  # the ops are declared when they are imported
    write()


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}

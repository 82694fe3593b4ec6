"""Our flows through torch.compile, with our ops and with their formulas in plain torch.

    python -m benchmarks.compiled [--threads 1] [--rounds 15] [--output FILE]

The formulas leave everything to the compiler; a compiled flow with ops should never be slower.
Beside them the eager flow. A training step each: -log_prob of 512 rows, backward, Adam.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from flowkernels import flows, ops
from flowkernels.flows import Flow
from flowkernels.ops import composite
from flowkernels.ops.composite.rational_quadratic_spline import (
    Options,
    rational_quadratic_spline,
    rational_quadratic_spline_split,
)

from . import files, machine
from .steps import adam

ROWS, LAYERS = 512, 8
RESULT = Path(__file__).parent / "results/compiled.json"
FLOWS: dict[str, Callable[[int], Flow]] = {
    "realnvp": lambda dim: flows.realnvp(dim, layers=LAYERS),
    "nsf": lambda dim: flows.nsf(dim, layers=LAYERS),
    "maf": lambda dim: flows.maf(dim, layers=LAYERS),
}
DIMS = (6, 64)


def _spline(x: Tensor, params: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    return rational_quadratic_spline(x, params, Options(**options), "row")


def _spline_split(
    x: Tensor, params: Tensor, *, transform: str = "second", **options: Any
) -> tuple[Tensor, Tensor]:
    return rational_quadratic_spline_split(x, params, Options(**options), transform, "row")


# Every op that these flows call, in plain torch.
FORMULAS: dict[str, Callable[..., Any]] = {
    "affine_coupling": composite.affine_coupling.affine_coupling,
    "affine_coupling_split": composite.affine_coupling.affine_coupling_split,
    "affine_coupling_mlp": composite.affine_coupling_mlp.affine_coupling_mlp,
    "identity_split": composite.identity_split.identity_split,
    "mlp": composite.mlp.mlp,
    "rational_quadratic_spline": _spline,
    "rational_quadratic_spline_split": _spline_split,
}


def step_of(flow: Flow, x: Tensor, compiled: bool) -> Callable[[], object]:
    """A training step, compiled where asked for."""
    flow.log_prob(x)  # starts the normalisations
    optimizer = adam(flow)
    log_prob = torch.compile(flow.log_prob, fullgraph=True) if compiled else flow.log_prob

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (-log_prob(x).mean()).backward()
        optimizer.step()

    return step


def steps_of(make: Callable[[int], Flow], dim: int) -> dict[str, Callable[[], object]]:
    """The steps that are compared."""
    torch._dynamo.reset()
    x = torch.randn(ROWS, dim)
    return {
        "formulas": step_of(make(dim), x, compiled=True),
        "ops": step_of(make(dim), x, compiled=True),
        "eager": step_of(make(dim), x, compiled=False),
    }


def timed(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Medians in milliseconds, and how many times as fast ops are as the formulas."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            # In place throughout: a compiled step is compiled again when an op changes.
            with mock.patch.multiple(ops, **FORMULAS) if name == "formulas" else nullcontext():
                if number == 0:
                    for _ in range(3):
                        step()
                start = time.perf_counter()
                for _ in range(5):
                    step()
                if number > 0:
                    times[name].append(200 * (time.perf_counter() - start))
    ratios = [a / b for a, b in zip(times["formulas"], times["ops"], strict=True)]
    medians = {name: round(statistics.median(t), 3) for name, t in times.items()}
    return medians | {"speedup": round(statistics.median(ratios), 3)}


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each flow and size."""
    for name, make in FLOWS.items():
        for dim in DIMS:
            torch.manual_seed(0)
            yield {"flow": name, "dim": dim} | timed(steps_of(make, dim), given.rounds)


def main() -> None:
    """Prints the rows, and writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help=f"add to a file, {RESULT.name} for example")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = []
    for row in rows(given):
        found.append(row)
        print(
            f"{row['flow']} {row['dim']}: formulas {row['formulas']:.2f} ms, ops {row['ops']:.2f}"
            f" ({row['speedup']:.2f} times as fast), eager {row['eager']:.2f}",
            flush=True,
        )
    if given.output is not None:
        known = json.loads(given.output.read_text()) if given.output.exists() else {}
        known[f"{given.threads} threads"] = {"machine": machine.facts(), "steps": found}
        files.write_text(given.output, json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()

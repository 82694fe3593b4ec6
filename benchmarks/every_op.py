"""Times every public op beside eager torch, and measures its error: python -m benchmarks.every_op

Writes results/every_op.json, from which the pages of the ops draw their charts. One thread, float32
(float64 where an op is declared for that first), a few sizes each. Peers are the short formula that
users would write (benchmarks/plain.py) and the definition in plain torch (for functions of single
elements the formula of python_ops/composite, else python_ops/reference), both eager;
`python -m benchmarks` compares with torch.compile too.

Errors are those of the timed calls: the largest difference from the definition in float64 at the
same arguments, over the largest element of the result. The same is measured of the results of the
formula that users would write.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from pathlib import Path
from typing import Any

import torch

from flowkernels import ops
from flowkernels.ops._declaration import PUBLIC, PublicOp

from . import implementations, machine, plain, report
from .implementations import MAKERS, as_tuple
from .interleaved import CLOCKS, Block, Peers, compare
from .registry import DIRECTIONS, Function, Inputs, Row, subject_of

RESULTS = Path(__file__).parent / "results" / "every_op.json"
SIZES: dict[str, tuple[tuple[int, ...], ...]] = {
    "rows": ((64, 3), (512, 64), (256, 3072)),
    "images": ((64, 6), (512, 64), (256, 3072)),
    "elements": ((64,), (4096,), (65536,)),
    "matrices": ((64, 8), (32, 96), (4, 768)),
    "networks": ((64, 64), (512, 64), (2048, 64)),
}
# Elements with 23 parameters each; images of (channels, height, width) add nothing here.
SPLINES = ((64, 6), (512, 16), (4096, 64))
OWN_SIZES: dict[str, tuple[tuple[int, ...], ...]] = {
    "rational_quadratic_spline": SPLINES,
    "rational_quadratic_spline_split": SPLINES,
}

# Their plain formulas draw other numbers than the op with the same seed.
UNSEEDED = ("tangent_normal",)


def rows_of(op: PublicOp) -> list[Row]:
    """What is timed of an op."""
    subject = dataclasses.replace(subject_of(op), dtypes=op.inputs.dtypes or ("float32",))
    sizes = OWN_SIZES.get(op.name, SIZES[op.inputs.sizes])
    # The plain sampler has no derivative.
    directions = DIRECTIONS[:1] if op.random else DIRECTIONS
    return [Row(subject, size, subject.dtypes[0], d, 1) for size in sizes for d in directions]


def formulas(row: Row) -> dict[str, Function]:
    """The formula that users would write, and the definition, where there are such."""
    found = {}
    if hasattr(plain, row.subject.op):
        found["plain"] = row.function(plain)
    # A sampler's definition and a backward's are not functions of the same arguments.
    if not PUBLIC[row.subject.op].random and not row.subject.op.endswith("_backward"):
        found["definition"] = implementations.definition(row)
    return found


def _error(got: Any, want: Any) -> float | None:
    """The largest error over the largest element, of all results; None where it is not finite."""
    worst = 0.0
    for a, b in zip(as_tuple(got), as_tuple(want), strict=True):
        if b.numel():
            scale = max(b.abs().max().item(), torch.finfo(torch.float32).tiny)
            error = (a.double() - b.double()).abs().max().item() / scale
            if not math.isfinite(error):
                return None
            worst = max(worst, error)
    return worst


def errors(row: Row, tensors: Inputs) -> dict[str, float | None]:
    """Of the op and of its peers, in the dtype of the row."""
    make = MAKERS[row.direction]
    known = formulas(row)
    exact = known.get("definition", known.get("plain"))
    assert exact is not None, f"{row.label}: nothing to compare with"
    want = make(exact, tuple(t.double() for t in tensors))()
    # Most definitions compute in float64 whatever they are given: their error says nothing.
    theirs = {name: f for name, f in known.items() if name == "plain" or "plain" not in known}
    # Where only directions count, gradients of a short formula are those of another function.
    if row.direction != "forward" or row.subject.op in UNSEEDED:
        theirs.pop("plain", None)
    functions = {"flowkernels": row.function(ops), **theirs}
    return {name: _error(make(f, tensors)(), want) for name, f in functions.items()}


def measure(row: Row, clock: str, rounds: int) -> dict[str, Any]:
    """One row of the results."""
    torch.set_num_threads(row.threads)
    tensors = row.tensors()
    ours = Block.of(implementations.ours(row, tensors))
    peers = Peers({k: MAKERS[row.direction](f, tensors) for k, f in formulas(row).items()}, clock)
    seconds = []
    for _ in range(rounds):
        peers()
        start = CLOCKS[clock]()
        ours()
        seconds.append((CLOCKS[clock]() - start) / ours.calls)
    facts = row.facts() | compare(seconds, peers.seconds).facts()
    found = {} if PUBLIC[row.subject.op].random else {"errors": errors(row, tensors)}
    return facts | {"kind": "every op", "rounds": rounds} | found


def main() -> None:
    """Times the ops that are named, or all, and writes the results of all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.every_op", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("ops", nargs="*", metavar="OP", help="only these; nothing is written")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall",
                        help="cpu: process time, for machines with other work")  # fmt: skip
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    unknown = set(options.ops) - set(PUBLIC)
    if unknown:
        parser.error(f"no public op is called {', '.join(sorted(unknown))}")
    rows: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    facts = machine.facts()
    for name in options.ops or sorted(PUBLIC):
        for row in rows_of(PUBLIC[name]):
            try:
                rows.append(measure(row, options.clock, options.rounds))
            except Exception as error:
                refused[row.label] = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"{row.label}: refused, {refused[row.label]}", flush=True)
                continue
            print(f"{row.label}: {rows[-1]['ratio']:.2f}", flush=True)
    if rows:
        print(f"median ratio {statistics.median(r['ratio'] for r in rows):.2f}")
    if not options.ops:
        head = {"clock": options.clock, "machine": facts, "refused": refused}
        print(report.save_json(head | {"rows": rows}, options.output))


if __name__ == "__main__":
    main()

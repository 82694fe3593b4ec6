"""python -m benchmarks.adapters: flows of other libraries with and without `accelerate`.

Training steps (log density, backward, Adam) of typical flows of nflows, normflows, zuko and FrEIA,
and samples of some, as the library computes them and accelerated, one after the other in every
round. Nothing is timed that does not agree. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels import adapters

from . import files, machine
from .adapter_models import IMAGES, VECTORS, Model
from .interleaved import CLOCKS, interleave
from .steps import have, training_step

RESULT = Path(__file__).parent / "results" / "adapters.json"
ROWS, DIMS = 512, (6, 64)
IMAGE_ROWS, IMAGE_SIZE = 32, 16
BLOCK_SECONDS = 0.02
Call = Callable[[], object]


def loss(model: Model, module: nn.Module, x: Tensor) -> Tensor:
    """What is trained."""
    return -model.log_prob(module, x).mean()


def pair(model: Model, x: Tensor, compiled: bool) -> dict[str, Call]:
    """Training steps of the same flow, plain and accelerated, after their losses agree."""
    plain = model.module
    loss(model, plain, x)  # Glow's ActNorm takes its scale from the first batch
    ours = adapters.accelerate(copy.deepcopy(plain))
    given = adapters.report().served
    torch.testing.assert_close(loss(model, ours, x), loss(model, plain, x), rtol=1e-4, atol=1e-4)
    if adapters.report().served == given:
        raise RuntimeError("nothing was accelerated")
    steps: dict[str, Call] = {}
    for name, module in (("plain", plain), ("accelerated", ours)):

        def one(module: nn.Module = module) -> Tensor:
            return loss(model, module, x)

        steps[name] = training_step(module, torch.compile(one) if compiled else one)
    return steps


def cases(given: argparse.Namespace) -> Iterator[tuple[dict[str, Any], dict[str, Call]]]:
    """What is timed, and its calls."""
    for library, makers in VECTORS.items():
        if library not in given.library or not have(library):
            continue
        for name, make in makers.items():
            for dim in given.dims:
                torch.manual_seed(0)
                model, x = make(dim), torch.randn(ROWS, dim)
                case = {"library": library, "flow": name, "shape": [dim]}
                yield case, pair(model, x, given.compile)
    for library, makers in IMAGES.items():
        if library not in given.library or not have(library) or not given.images:
            continue
        for name, make in makers.items():
            torch.manual_seed(0)
            x = torch.rand(IMAGE_ROWS, 3, IMAGE_SIZE, IMAGE_SIZE)
            case = {"library": library, "flow": name, "shape": [*x.shape[1:]]}
            yield case, pair(make(IMAGE_SIZE), x, given.compile)


def timed(calls: dict[str, Call], given: argparse.Namespace) -> dict[str, float]:
    """Medians in milliseconds, and the median of the rounds' ratios."""
    seconds = interleave(calls, given.rounds, given.clock, BLOCK_SECONDS)
    ratios = [a / b for a, b in zip(seconds["plain"], seconds["accelerated"], strict=True)]
    medians = {name: round(1e3 * statistics.median(each), 4) for name, each in seconds.items()}
    quartiles = statistics.quantiles(ratios, n=4)
    return medians | {
        "speedup": round(medians["plain"] / medians["accelerated"], 3),
        "quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }  # type: ignore[dict-item]


def main() -> None:
    """Prints a line for each flow and size, and writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--library", nargs="+", choices=list(VECTORS), default=list(VECTORS))
    parser.add_argument("--dims", nargs="+", type=int, default=list(DIMS))
    parser.add_argument("--no-images", dest="images", action="store_false")
    parser.add_argument("--compile", action="store_true", help="both through torch.compile")
    parser.add_argument("--output", type=Path, help=f"add to a file, {RESULT.name} for example")
    given = parser.parse_args()
    for library in given.library:
        if not have(library):
            print(f"{library} is not installed (extra `peers`): skipped")
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # the libraries' own
    found: list[dict[str, Any]] = []
    for case, calls in cases(given):
        found.append(case | timed(calls, given))
        shown = found[-1]
        print(
            f"{case['library']} {case['flow']} {tuple(case['shape'])}: plain {shown['plain']:.2f}"
            f" ms, accelerated {shown['accelerated']:.2f}, {shown['speedup']:.2f} times as fast",
            flush=True,
        )
    if given.output is not None:
        name = f"{given.threads} thread{'s' * (given.threads > 1)}" + ", compiled" * given.compile
        known = json.loads(given.output.read_text()) if given.output.exists() else {}
        known[name] = {"machine": machine.facts(), "rounds": given.rounds, "steps": found}
        files.write_text(given.output, json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()

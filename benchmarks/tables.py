"""python -m benchmarks.tables: flows on real tables beside zuko's, of the same architecture.

5 layers, two hidden layers of 64, ReLU, affine or splines of 8 bins on [-5, 5], features in
alternating order; the same batches, optimiser and number of steps, the seeds 0, 1 and 2. Tested are
the weights with the best validation score. Needs the extra `peers`, and see `table_data`.
"""

from __future__ import annotations

import argparse
import copy
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.flows import maf, nsf

from .interleaved import Call, interleave
from .steps import have
from .table_data import TABLES, Split, load, missing

LAYERS, HIDDEN, BINS, BOUND = 5, 64, 8, 5.0
BATCH, RATE, CLIP = 256, 1e-3, 5.0
VALIDATE_EVERY = 50
Density = Callable[[Tensor], Tensor]
Model = tuple[nn.Module, Density]


def of_ours(kind: str, dim: int, **options: Any) -> Model:
    """Without an ActNorm, as the rows are standardised and zuko has none."""
    common: dict[str, Any] = {"layers": LAYERS, "hidden": HIDDEN, "actnorm": False, **options}
    if kind == "maf":
        flow = maf(dim, **common)
    elif kind == "spline maf":
        flow = maf(dim, transform="spline", **{"bins": BINS, "bound": BOUND, **common})
    else:
        flow = nsf(dim, **{"bins": BINS, "bound": BOUND, "mixing": "none", **common})
    return flow, flow.log_prob


def of_zuko(kind: str, dim: int) -> Model:
    """NSF is autoregressive; with two passes it consists of couplings."""
    import zuko

    common: dict[str, Any] = {"transforms": LAYERS, "hidden_features": (HIDDEN, HIDDEN)}
    if kind == "maf":
        flow: nn.Module = zuko.flows.MAF(dim, **common)
    elif kind == "spline maf":
        flow = zuko.flows.NSF(dim, bins=BINS, **common)
    else:
        flow = zuko.flows.NSF(dim, bins=BINS, passes=2, **common)
    return flow, lambda x: flow().log_prob(x)


KINDS = ("maf", "spline maf", "nsf")
MAKERS: dict[str, Callable[[str, int], Model]] = {"flowkernels": of_ours, "zuko": of_zuko}


def batches(rows: Tensor, steps: int, seed: int) -> Iterator[Tensor]:
    """Batches in a new random order in every epoch."""
    generator = torch.Generator().manual_seed(seed)
    size = min(BATCH, len(rows))
    done = 0
    while True:
        for chosen in torch.randperm(len(rows), generator=generator).split(size):
            if len(chosen) == size:
                yield rows[chosen]
                done += 1
            if done == steps:
                return


@dataclass
class Training:
    """One model in training: its score so far, and the seconds that its steps took."""

    module: nn.Module
    density: Density
    steps: int

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=RATE, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.steps)
        self.seconds: list[float] = []
        self.best, self.state, self.at = float("-inf"), copy.deepcopy(self.module.state_dict()), 0

    def step(self, rows: Tensor) -> None:
        """Maximum likelihood with a clipped gradient."""
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        (-self.density(rows).mean()).backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), CLIP)
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)
        self.schedule.step()

    def validate(self, rows: Tensor) -> None:
        """Keep the weights if they are the best so far."""
        if (score := self.score(rows)) > self.best:
            self.best, self.at = score, len(self.seconds)
            self.state = copy.deepcopy(self.module.state_dict())

    def finish(self) -> None:
        """Go back to the best weights."""
        self.module.load_state_dict(self.state)

    @torch.no_grad()
    def score(self, rows: Tensor) -> float:
        """Mean log density in nats a row."""
        return float(torch.cat([self.density(part) for part in rows.split(2000)]).double().mean())


def train(models: dict[str, Model], table: Split, steps: int, seed: int) -> dict[str, Training]:
    """Train all models on the same batches, step by step in turn."""
    runs = {name: Training(*model, steps) for name, model in models.items()}
    for number, rows in enumerate(batches(table.train, steps, seed), 1):
        for run in runs.values():
            run.step(rows)
            if number % VALIDATE_EVERY == 0 or number == steps:
                run.validate(table.val)
    for run in runs.values():
        run.finish()
    return runs


def compare(table: Split, kind: str, steps: int, seeds: int) -> dict[str, list[dict[str, float]]]:
    """Test log density, the step it was reached at, and seconds, of each library and seed."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        models = {}
        for name, make in MAKERS.items():
            if name == "flowkernels" or have(name):
                torch.manual_seed(seed)
                models[name] = make(kind, table.train.shape[1])
        for name, run in train(models, table, steps, seed).items():
            entry = {
                "test": run.score(table.test),
                "train": run.score(table.train),
                "at": float(run.at),
                "seconds": statistics.median(run.seconds) * steps,
            }
            found.setdefault(name, []).append(entry)
    return found


def step_times(dim: int, kind: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of a training step, in turn; zuko's also through torch.compile."""
    rows = torch.randn(BATCH, dim)
    calls: dict[str, Call] = {}
    for name, make in MAKERS.items():
        if name != "flowkernels" and not have(name):
            continue
        for suffix in ("", " compiled") if name != "flowkernels" else ("",):
            module, density = make(kind, dim)
            called = torch.compile(density) if suffix else density
            training = Training(module, called, 10**6)
            try:
                training.step(rows)
            except Exception as error:  # whatever the compiler cannot do
                print(f"{name}{suffix}: {type(error).__name__}: {str(error)[:200]}")
                continue
            calls[name + suffix] = functools.partial(training.step, rows)
    seconds = interleave(calls, rounds, block_seconds=0.05)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    error = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    """Prints a row for each table and kind of flow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0, help="only time steps, in rounds")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.tables:
        if (problem := missing(name)) is not None:
            print(problem)
            continue
        table = load(name)
        dim = table.train.shape[1]
        for kind in given.kinds:
            if given.rounds:
                own, *_ = times = step_times(dim, kind, given.rounds)
                shown = ", ".join(
                    f"{k} {v:.2f} ms ({v / times[own]:.2f})" for k, v in times.items()
                )
                print(f"{name}, D = {dim}, {kind}: {shown}", flush=True)
                continue
            for library, runs in compare(table, kind, given.steps, given.seeds).items():
                columns = {key: [run[key] for run in runs] for key in runs[0]}
                print(
                    f"{name}, {len(table.train)} rows, D = {dim}, {kind}, {library}: test "
                    f"{spread(columns['test'])}, train {spread(columns['train'])}, best at "
                    f"{statistics.mean(columns['at']):.0f}, "
                    f"{statistics.mean(columns['seconds']):.1f} s for {given.steps} steps",
                    flush=True,
                )


if __name__ == "__main__":
    main()

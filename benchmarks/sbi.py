"""python -m benchmarks.sbi: flows in simulation-based inference, beside those of sbi itself.

Trains sbi's NPE with `flowkernels.adapters.sbi.posterior_nn` and with sbi's own function of the
same name, which builds flows of nflows, at equal settings, sbi's defaults: simulations, hidden
features, transforms, bins, batches, learning rate, stopping rule, seeds. Tasks with exact
posteriors: two moons, and the linear Gaussian that sbi ships.

For each task and model: the log-probability of held-out parameters, C2ST against exact posterior
samples (.5 is perfect), epochs until training stops, seconds of an epoch (medians of epochs of both
in turn), of the training, and until the validation loss is as low as the lowest of sbi's. Needs the
extra `sbi`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from sbi import neural_nets
from sbi.inference import NPE
from sbi.simulators.linear_gaussian import (
    linear_gaussian,
    samples_true_posterior_linear_gaussian_uniform_prior,
)
from sbi.utils import BoxUniform
from sbi.utils.metrics import c2st
from torch import Tensor

from flowkernels.adapters import sbi as adapter

from . import files, machine
from .interleaved import CLOCKS

OURS, THEIRS = "flowkernels", "sbi"
BUILDERS: dict[str, Callable[[str], Any]] = {
    OURS: adapter.posterior_nn,  # type: ignore[dict-item]
    THEIRS: neural_nets.posterior_nn,
}
HELD_OUT = 2000
OBSERVATIONS = 5
SAMPLES = 1000


# ---- tasks ------------------------------------------------------------------------------


class TwoMoons:
    """Greenberg, Nonnenmacher & Macke, "Automatic posterior transformation" (2019), A.1.

    x = p + (-|t0 + t1|, t1 - t0) / sqrt 2, p on a noisy half circle. A posterior has two crescents:
    for a p on the half circle, x gives |t0 + t1| and t1 - t0.
    """

    name = "two moons"
    prior = BoxUniform(-torch.ones(2), torch.ones(2))

    @staticmethod
    def _half_circle(n: int) -> Tensor:
        angle = math.pi * (torch.rand(n) - 0.5)
        radius = 0.1 + 0.01 * torch.randn(n)
        return torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], 1)

    def simulate(self, theta: Tensor) -> Tensor:
        total, difference = theta.sum(1), theta[:, 1] - theta[:, 0]
        moved = torch.stack([-total.abs(), difference], 1) / math.sqrt(2)
        return self._half_circle(len(theta)) + moved

    def posterior(self, x: Tensor, n: int) -> Tensor:
        found: list[Tensor] = []
        while sum(map(len, found)) < n:
            total, difference = (
                math.sqrt(2) * (x - self._half_circle(n)).T * torch.tensor([[-1], [1]])
            )
            signed = torch.where(torch.rand(n) < 0.5, total, -total)
            theta = torch.stack([signed - difference, signed + difference], 1) / 2
            found.append(theta[(total >= 0) & (theta.abs() <= 1).all(1)])
        return torch.cat(found)[:n]


class LinearGaussian:
    """sbi's own: x = theta - 1 + noise of variance .3 in three dimensions, a uniform prior."""

    name = "linear Gaussian"
    prior = BoxUniform(-2 * torch.ones(3), 2 * torch.ones(3))
    shift, covariance = -torch.ones(3), 0.3 * torch.eye(3)

    def simulate(self, theta: Tensor) -> Tensor:
        x: Tensor = linear_gaussian(theta, self.shift, self.covariance)
        return x

    def posterior(self, x: Tensor, n: int) -> Tensor:
        samples: Tensor = samples_true_posterior_linear_gaussian_uniform_prior(
            x[None], self.shift, self.covariance, self.prior, n
        )
        return samples


Task = TwoMoons | LinearGaussian


# ---- training ---------------------------------------------------------------------------


class NoTracker:
    """Takes what sbi would write to the working directory."""

    log_dir = None

    def log_metric(self, name: str, value: float, step: int | None = None) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    def log_params(self, params: dict[str, Any]) -> None: ...

    def add_figure(self, name: str, figure: Any, step: int | None = None) -> None: ...

    def flush(self) -> None: ...


class Trainer(NPE):  # type: ignore[misc]
    """sbi's trainer with a clock around its epochs."""

    def __init__(self, task: Task, builder: Any, clock: Callable[[], float]) -> None:
        super().__init__(
            task.prior, density_estimator=builder, show_progress_bars=False, tracker=NoTracker()
        )
        self.clock = clock
        self.seconds: list[float] = []

    def _train_epoch(self, *given: Any) -> float:
        start = self.clock()
        loss: float = super()._train_epoch(*given)
        self.seconds.append(self.clock() - start)
        return loss

    def _validate_epoch(self, *given: Any) -> float:
        start = self.clock()
        loss: float = super()._validate_epoch(*given)
        self.seconds[-1] += self.clock() - start
        return loss

    @property
    def validation(self) -> list[float]:
        """The validation loss of each epoch."""
        losses: list[float] = self._summary["validation_loss"]
        return losses


@dataclass
class Outcome:
    """Of one training."""

    task: str
    model: str
    library: str
    seed: int
    log_prob: float
    c2st: float
    epochs: int
    seconds: float
    validation: list[float]


def simulated(task: Task, seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Simulations, the same for every library."""
    torch.manual_seed(1000 + seed)
    theta = task.prior.sample((n,))
    return theta, task.simulate(theta)


def trained(task: Task, model: str, library: str, seed: int, given: argparse.Namespace) -> Outcome:
    """One training and what it reached."""
    theta, x = simulated(task, seed, given.simulations)
    held_out = simulated(task, 100 + seed, HELD_OUT)
    torch.manual_seed(seed)
    trainer = Trainer(task, BUILDERS[library](model), CLOCKS[given.clock])
    estimator = trainer.append_simulations(theta, x).train(max_num_epochs=given.epochs)
    estimator.eval()
    with torch.no_grad():
        log_prob = estimator.log_prob(held_out[0][None], held_out[1]).mean().item()
    posterior = trainer.build_posterior()
    scores = []
    for one in held_out[1][:OBSERVATIONS]:
        samples = posterior.sample((SAMPLES,), x=one, show_progress_bars=False)
        scores.append(c2st(task.posterior(one, SAMPLES), samples).item())
    return Outcome(
        task.name, model, library, seed, log_prob, statistics.fmean(scores),
        len(trainer.seconds), sum(trainer.seconds), trainer.validation,
    )  # fmt: skip


# ---- timing -----------------------------------------------------------------------------


def epoch_seconds(task: Task, model: str, given: argparse.Namespace) -> dict[str, float]:
    """Median seconds of an epoch of each library, in rounds of one epoch of each."""
    theta, x = simulated(task, 0, given.simulations)
    trainers = {}
    for library, builder in BUILDERS.items():
        torch.manual_seed(0)
        trainers[library] = Trainer(task, builder(model), CLOCKS[given.clock])
        trainers[library].append_simulations(theta, x)
    for i in range(given.rounds):
        for trainer in trainers.values():
            trainer.train(max_num_epochs=i + 1, stop_after_epochs=10**6, resume_training=i > 0)
    # The first call runs two epochs, which also warm up.
    return {name: statistics.median(each.seconds[2:]) for name, each in trainers.items()}


PARTS = ("data loader", "forward", "backward", "clipping and Adam")


def step_parts(task: Task, model: str, given: argparse.Namespace) -> dict[str, list[float]]:
    """Median seconds of the parts of a training step, of each library in turn."""
    theta, x = simulated(task, 0, given.simulations)
    clock = CLOCKS[given.clock]
    found: dict[str, list[list[float]]] = {name: [] for name in BUILDERS}
    steps = {}
    for library, builder in BUILDERS.items():
        trainer = Trainer(task, builder(model), clock).append_simulations(theta, x)
        loader, _ = trainer.get_dataloaders()
        estimator = builder(model)(theta, x)
        optimizer = torch.optim.Adam(list(estimator.parameters()), lr=5e-4)
        steps[library] = loader, estimator, optimizer
    for _ in range(given.rounds):
        for library, (loader, estimator, optimizer) in steps.items():
            batches, start = iter(loader), clock()
            for theta_batch, x_batch, _ in batches:
                times = [start, clock()]
                optimizer.zero_grad()
                loss = estimator.loss(theta_batch, x_batch).mean()
                times.append(clock())
                loss.backward()
                times.append(clock())
                torch.nn.utils.clip_grad_norm_(estimator.parameters(), 5.0)
                optimizer.step()
                times.append(clock())
                found[library].append([b - a for a, b in itertools.pairwise(times)])
                start = clock()
    return {
        name: [statistics.median(part) for part in zip(*rows, strict=True)]
        for name, rows in found.items()
    }


# ---- report -----------------------------------------------------------------------------


def spread(values: list[float], digits: int) -> str:
    """Mean and standard error over the seeds."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} +- {error:.{digits}f}"


def epochs_to(validation: list[float], loss: float) -> int | None:
    """Epochs until the validation loss is at most `loss`."""
    return next((i + 1 for i, value in enumerate(validation) if value <= loss), None)


def report(outcomes: list[Outcome], timings: dict[str, dict[str, float]]) -> None:
    """Prints the tables."""
    width = 22
    print(
        f"{'':{width}}{'library':13}{'log-prob':18}{'C2ST':18}{'epochs':14}{'ms an epoch':13}"
        f"{'s of training':15}s to sbi's loss"
    )
    for key in dict.fromkeys((o.task, o.model) for o in outcomes):
        runs = {
            n: [o for o in outcomes if (o.task, o.model, o.library) == (*key, n)] for n in BUILDERS
        }
        label = ", ".join(key)
        for library, own in runs.items():
            epoch = timings.get(label, {}).get(library, math.nan)
            reached = [
                epochs_to(o.validation, min(t.validation))
                for o, t in zip(own, runs[THEIRS], strict=False)
            ]
            needed = [epoch * each for each in reached if each is not None]
            print(
                f"{label:{width}}{library:13}{spread([o.log_prob for o in own], 3):18}"
                f"{spread([o.c2st for o in own], 3):18}"
                f"{spread([float(o.epochs) for o in own], 0):14}{1e3 * epoch:<13.1f}"
                f"{epoch * statistics.fmean(o.epochs for o in own):<15.1f}"
                + (f"{statistics.fmean(needed):.1f}" if needed else "-")
                + (f" ({len(needed)} of {len(own)} seeds)" if len(needed) < len(own) else "")
            )


def write(
    given: argparse.Namespace,
    timings: dict[str, dict[str, float]],
    parts: dict[str, dict[str, list[float]]],
    outcomes: list[Outcome],
) -> None:
    """All numbers as JSON, also while some are missing."""
    if given.output is None:
        return
    found = {
        "machine": machine.facts(),
        "settings": vars(given) | {"output": given.output.name},
        "timings": timings,
        "parts": {"names": PARTS, **parts},
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    files.write_text(given.output, json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Trains, times and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["maf", "nsf"])
    parser.add_argument("--tasks", nargs="+", default=["two moons", "linear Gaussian"])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=1000, help="at most")
    parser.add_argument("--rounds", type=int, default=15, help="timed epochs of each; 0 for none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--output", type=Path, help="a JSON file with all numbers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # sbi's, of trainings that were cut
    tasks = [task for task in (TwoMoons(), LinearGaussian()) if task.name in given.tasks]
    timings: dict[str, dict[str, float]] = {}
    parts: dict[str, dict[str, list[float]]] = {}
    for task in tasks if given.rounds else []:
        for model in given.models:
            label = f"{task.name}, {model}"
            timings[label] = epoch_seconds(task, model, given)
            parts[label] = step_parts(task, model, given)
            ours, theirs = (timings[label][name] for name in (OURS, THEIRS))
            print(
                f"{label}: an epoch takes {1e3 * ours:.1f} ms, with sbi's {1e3 * theirs:.1f} "
                f"({ours / theirs:.2f})"
            )
            for name, each in parts[label].items():
                shown = (f"{part} {1e3 * t:.2f}" for part, t in zip(PARTS, each, strict=True))
                print(f"  a step of {name}, ms: {', '.join(shown)}", flush=True)
    write(given, timings, parts, [])
    outcomes: list[Outcome] = []
    for seed, task, model in itertools.product(given.seeds, tasks, given.models):
        for library in BUILDERS:
            outcomes.append(trained(task, model, library, seed, given))
            own = outcomes[-1]
            print(
                f"{task.name}, {model}, {library}, seed {seed}: log-prob {own.log_prob:.3f}, C2ST "
                f"{own.c2st:.3f}, {own.epochs} epochs, {own.seconds:.1f} s",
                flush=True,
            )
            write(given, timings, parts, outcomes)
    if outcomes:
        report(outcomes, timings)


if __name__ == "__main__":
    main()

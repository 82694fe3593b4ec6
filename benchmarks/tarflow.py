"""python -m benchmarks.tarflow: a small TarFlow beside the Glow of the demo, at equal time.

Trains both on Fashion-MNIST, on the CPU, in turns of a few seconds. Each gets `--minutes` of
training by the wall clock, and the optimiser, schedule and clipping of `flowkernels demo`, whose
Glow it is; AdamW is the fused one, which computes the same in less time. Prints the bits per
dimension of held-out training images over time, and at the end those of the test images, with the
same noise for both. Writes all numbers to tarflow.json and samples of both to tarflow.png. Needs
the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.bases import StandardNormal
from flowkernels.bijections import Bijection, Compose, Dequantize, Logit, Standardize
from flowkernels.experiments.cli.demo import DEMO
from flowkernels.experiments.cli.memory import keep_freed_memory
from flowkernels.experiments.data.fashion_mnist import load_fashion_mnist
from flowkernels.experiments.data.module import ImageDataModule
from flowkernels.experiments.evaluation import fixed_noise
from flowkernels.experiments.evaluation.pictures import save_grid
from flowkernels.experiments.training import build_flow
from flowkernels.flows import Flow
from flowkernels.ops.affine_coupling import CHOICES

from . import files, machine
from .interleaved import CLOCKS
from .tarflow_model import TarFlow

TARFLOW, GLOW = "TarFlow", "Glow of the demo"
TURN = 5.0  # seconds of training
VALIDATION_IMAGES = 1000
STANDARDISED_BY = 10_000  # images
COLUMNS, ROWS = 12, 2  # of each flow's samples


def tarflow(images: Tensor, given: argparse.Namespace) -> Flow:
    """A new TarFlow of images (N, C, H, W), whose logits it standardises pixel by pixel."""
    event = images.shape[1:]
    logit = Logit(DEMO.alpha)
    with fixed_noise(given.seed):
        logits = logit(Dequantize()(images[:STANDARDISED_BY])[0])[0]
        transformers = TarFlow(
            event,
            patch=given.patch,
            width=given.width,
            blocks=given.blocks,
            layers=given.layers,
            heads=given.heads,
            expansion=given.expansion,
            scale_fn=given.scale_fn,
        )
    steps: list[Bijection] = [logit, Standardize.of(logits), transformers]
    return Flow(
        Compose(steps),
        StandardNormal(event.numel()),
        event_shape=event,
        dequantize=Dequantize(),
    )


def shuffled(images: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Whole batches without end, in a new random order in every epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(images), generator=generator).split(batch):
            if len(rows) == batch:
                yield images[rows]


@dataclass
class Training:
    """A flow in training for a given time.

    Attributes:
        rate: the peak of the learning rate, which follows a cosine of the time to zero.
        limit: seconds of training.
        spent: seconds of training so far; `steps` were taken in them.
        curve: (seconds, bits per dimension of the validation images).
    """

    flow: Flow
    batches: Iterator[Tensor]
    rate: float
    limit: float
    seed: int
    clock: Callable[[], float] = time.perf_counter
    spent: float = 0.0
    steps: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(
            self.flow.parameters(), self.rate, weight_decay=DEMO.weight_decay, fused=True
        )

    def advance(self, seconds: float) -> None:
        """Steps until so many seconds are over, or all that it has."""
        self.flow.train()
        before, start = self.spent, self.clock()
        with fixed_noise(self.seed + self.steps):
            while self.spent < min(before + seconds, self.limit):
                self._step(next(self.batches))
                self.spent = before + self.clock() - start

    def _step(self, images: Tensor) -> None:
        cosine = (1 + math.cos(math.pi * self.spent / self.limit)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min((self.steps + 1) / DEMO.warmup_steps, cosine)
        self.optimizer.zero_grad()
        loss = self.flow.bits_per_dim(images).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.flow.parameters(), DEMO.gradient_clip)
        if not math.isfinite(loss.item() + norm.item()):
            raise FloatingPointError(
                f"step {self.steps + 1}: the loss is {loss.item():g} bits per dimension and its "
                f"gradient's norm {norm.item():g}"
            )
        self.optimizer.step()
        self.steps += 1

    def record(self, images: Tensor) -> None:
        """Adds the flow's present score of these images to the curve."""
        self.curve.append((round(self.spent, 2), scores(self.flow, images).mean().item()))


@torch.no_grad()
def scores(flow: Flow, images: Tensor) -> Tensor:
    """Bits per dimension of each image (N,), with the same noise whatever the flow."""
    flow.eval()
    with fixed_noise(0):
        return torch.cat([flow.bits_per_dim(part).double() for part in images.split(250)])


def train(runs: dict[str, Training], validation: Tensor, checkpoints: int) -> None:
    """All in turn until each has had its time; scores them `checkpoints` times."""
    limit = next(iter(runs.values())).limit
    turns = max(1, math.ceil(limit / TURN / checkpoints))
    number = 0
    while any(run.spent < limit for run in runs.values()):
        number += 1
        for name, run in runs.items():
            if run.spent >= limit:
                continue
            run.advance(TURN)
            if number % turns == 0 or run.spent >= limit:
                run.record(validation)
                seconds, bits = run.curve[-1]
                print(f"{name}: {seconds:.0f} s, {run.steps} steps, {bits:.4f}", flush=True)


@torch.no_grad()
def round_trip(flow: Flow, images: Tensor) -> float:
    """The largest error of a pixel, in [0, 1], after forward and inverse of the bins' centres."""
    assert flow.dequantize is not None
    pixels, _ = flow.dequantize.centre(images)
    back, _ = flow.bijection.inverse(flow.bijection(pixels)[0])
    return (back - pixels).abs().max().item()


def samples(flow: Flow, count: int, seed: int) -> tuple[Tensor, float]:
    """Images (count, C, H, W), and the seconds that they took."""
    flow.eval()
    with fixed_noise(seed):
        start = time.perf_counter()
        drawn = flow.sample(count)
        return drawn, time.perf_counter() - start


def outcome(run: Training, test: Tensor, own: Tensor, sampling: float) -> dict[str, Any]:
    """The numbers of one flow; `own` are its scores of the test images."""
    return {
        "parameters": sum(each.numel() for each in run.flow.parameters()),
        "training steps": run.steps,
        "training seconds": round(run.spent, 2),
        "test bits per dimension": own.mean().item(),
        "standard error": (own.std() / math.sqrt(len(own))).item(),
        "milliseconds a sample": 1e3 * sampling / (ROWS * COLUMNS),
        "largest error of a pixel after forward and inverse": round_trip(run.flow, test[:100]),
        "validation curve, seconds and bits per dimension": run.curve,
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=8, help="of training, for each flow")
    add("--patch", type=int, default=2, help="side of a patch")
    add("--width", type=int, default=32, help="features of a token in a transformer")
    add("--blocks", type=int, default=4)
    add("--layers", type=int, default=1, help="of each block's transformer")
    add("--heads", type=int, default=1)
    add("--expansion", type=int, default=4, help="of the hidden layers, times the width")
    add(
        "--scale-fn",
        choices=CHOICES["scale_fn"],
        default="exp",
        help="of the couplings, see ops.affine_coupling",
    )
    add("--rate", type=float, default=2e-2, help="peak learning rate of the TarFlow")
    add("--batch", type=int, default=16, help="images a step of the TarFlow")
    add("--only", choices=(TARFLOW, GLOW), help="train one of them, to try settings")
    add("--checkpoints", type=int, default=12, help="points of the curves")
    add("--test-images", type=int, default=10_000, help="how many are scored at the end")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--clock", choices=list(CLOCKS), default="wall", help="see interleaved.py")
    add("--data-dir", type=Path, help="a folder with Fashion-MNIST's files")
    add("--output", type=Path, help="a folder for tarflow.json and tarflow.png")
    return parser.parse_args()


def main() -> None:
    """Trains, prints, writes and draws."""
    given = parsed()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    dataset = load_fashion_mnist(given.data_dir)
    held_out = min(VALIDATION_IMAGES, len(dataset.train) // 10)
    data = ImageDataModule(dataset, batch_size=DEMO.batch_size, val_size=held_out)
    training, test = data.train_images, dataset.test[: given.test_images]
    facts = machine.facts()
    glow = replace(DEMO, seed=given.seed)
    runs = {
        name: Training(
            flow,
            shuffled(training, batch, given.seed),
            rate,
            60 * given.minutes,
            given.seed,
            CLOCKS[given.clock],
        )
        for name, flow, batch, rate in (
            (TARFLOW, tarflow(training, given), given.batch, given.rate),
            (GLOW, build_flow(glow, dataset.shape), DEMO.batch_size, DEMO.learning_rate),
        )
        if given.only in (None, name)
    }
    train(runs, data.val_images, given.checkpoints)
    of_images = {name: scores(run.flow, test) for name, run in runs.items()}
    found: dict[str, Any] = {}
    drawn = []
    for name, run in runs.items():
        images, seconds = samples(run.flow, ROWS * COLUMNS, seed=1)
        drawn.append(images.unflatten(0, (ROWS, COLUMNS)))
        found[name] = outcome(run, test, of_images[name], seconds)
    if len(runs) == 2:
        difference = of_images[TARFLOW] - of_images[GLOW]
        found[f"{TARFLOW} minus {GLOW}"] = {
            "bits per dimension": difference.mean().item(),
            "standard error": (difference.std() / math.sqrt(len(test))).item(),
        }
    for name, numbers in found.items():
        shown = {k: v for k, v in numbers.items() if not isinstance(v, list)}
        print(name, *(f"  {k}: {v:.5g}" for k, v in shown.items()), sep="\n")
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        settings = {n: v for n, v in vars(given).items() if not isinstance(v, Path)}
        settings[GLOW] = asdict(glow)
        text = json.dumps({"machine": facts, "settings": settings} | found, indent=1)
        files.write_text(given.output / "tarflow.json", text + "\n")
        save_grid(torch.cat(drawn), given.output / "tarflow.png", scale=2)


if __name__ == "__main__":
    main()

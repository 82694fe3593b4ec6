"""python -m benchmarks.class_conditional: images given their class, on Fashion-MNIST.

Trains two Glows of one architecture on the same batches. Their couplings and their Gaussian bases,
as in Glow's own class-conditional models, read a class: one flow is given that of the image,
p(x | y), the other always the same one, p(x). Prints the bits per dimension of the test images
under both, and with a wrong class; the share of test images whose class has the largest density,
argmax_y p(x | y), which is what a classifier by Bayes' rule needs; and draws samples of each class.
Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from flowkernels.bases import ConditionalNormal
from flowkernels.experiments.data.fashion_mnist import load_fashion_mnist
from flowkernels.experiments.evaluation.pictures import save_grid
from flowkernels.flows import Flow, glow

from . import files, machine

CLASSES = 10
BATCH = 32
WITH, WITHOUT = "with the class", "without"
LEARNING_RATE = 5e-3
WARMUP = 100


@dataclass(frozen=True)
class Images:
    """Levels (N, 1, 28, 28) and classes (N,)."""

    levels: Tensor
    classes: Tensor

    def first(self, count: int) -> Images:
        return Images(self.levels[:count], self.classes[:count])

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(0, len(self.levels), size):
            rows = slice(i, i + size) if order is None else order[i : i + size]
            yield self.levels[rows], self.classes[rows]


def fashion_mnist(folder: Path | None) -> tuple[Images, Images]:
    """Training and test images."""
    data = load_fashion_mnist(folder)
    assert data.train_labels is not None
    assert data.test_labels is not None
    return (
        Images(data.train, data.train_labels.long()),
        Images(data.test, data.test_labels.long()),
    )


def flows(given: argparse.Namespace) -> dict[str, Flow]:
    """Two flows with the same weights."""
    made = {}
    for name in (WITH, WITHOUT):
        torch.manual_seed(given.seed)
        made[name] = glow(
            (1, 28, 28),
            steps=given.steps,
            hidden=given.hidden,
            alpha=1e-5,
            base=ConditionalNormal(28 * 28, CLASSES),
            context=CLASSES,
            embedding=nn.Embedding(CLASSES, CLASSES),
            context_shape=(),
        )
    return made


def known(name: str, classes: Tensor) -> Tensor:
    """The classes as a flow is given them."""
    return classes if name == WITH else torch.zeros_like(classes)


def train(pair: dict[str, Flow], images: Images, given: argparse.Namespace) -> int:
    """Steps of both flows in turn until the time is over; returns their number."""
    optimizers = {n: torch.optim.Adam(flow.parameters(), LEARNING_RATE) for n, flow in pair.items()}
    generator = torch.Generator().manual_seed(given.seed)
    seconds = 60 * given.minutes * len(pair)
    start, step = time.perf_counter(), 0
    for epoch in itertools.count():
        order = torch.randperm(len(images.levels), generator=generator)
        for x, y in images.batches(BATCH, order):
            spent = (time.perf_counter() - start) / seconds
            if spent >= 1:
                return step
            noise = given.seed + step
            factor = min((step + 1) / WARMUP, (1 + math.cos(math.pi * spent)) / 2)
            losses = {}
            for name, flow in pair.items():
                torch.manual_seed(noise)  # of the dequantisation
                for group in optimizers[name].param_groups:
                    group["lr"] = LEARNING_RATE * factor
                optimizers[name].zero_grad()
                loss = flow.bits_per_dim(x, known(name, y)).mean()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(flow.parameters(), 50.0)
                optimizers[name].step()
                losses[name] = loss.detach()
            if step % 200 == 0:
                shown = ", ".join(f"{n} {loss.item():.3f}" for n, loss in losses.items())
                print(f"epoch {epoch}, step {step}, {spent:.0%}: {shown}", flush=True)
            step += 1
    raise AssertionError("epochs never end")


@torch.no_grad()
def evaluated(flow: Flow, images: Images, classes: Tensor) -> Tensor:
    """Bits per dimension of each image given these classes."""
    torch.manual_seed(0)
    given = Images(images.levels, classes)
    return torch.cat([flow.bits_per_dim(x, y) for x, y in given.batches(250)])


@torch.no_grad()
def accuracy(flow: Flow, images: Images) -> float:
    """The share of images whose class has the largest density, the noise the same for all."""
    right = 0
    for i, (x, y) in enumerate(images.batches(100)):
        densities = []
        for each in range(CLASSES):
            torch.manual_seed(i)
            densities.append(flow.log_prob(x, torch.full_like(y, each)))
        right += int((torch.stack(densities).argmax(0) == y).sum())
    return right / len(images.levels)


@torch.no_grad()
def draw(flow: Flow, columns: int, temperature: float) -> Tensor:
    """Samples (class, column, 1, 28, 28); the base's deviations times `temperature`."""
    torch.manual_seed(1)
    classes = torch.arange(CLASSES)
    assert isinstance(flow.base, ConditionalNormal)
    assert flow.embedding is not None
    loc, log_scale = flow.base.loc_and_log_scale(flow.embedding(classes)[:, None])
    noise = torch.randn(CLASSES, columns, flow.latent_shape.numel())
    return flow.inverse(loc + temperature * log_scale.exp() * noise, classes[:, None])[0]


def main() -> None:
    """Trains, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of training, for each flow")
    parser.add_argument("--steps", type=int, default=4, help="Glow steps on each of two levels")
    parser.add_argument("--hidden", type=int, default=32, help="channels of the networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.7, help="of the pictures' samples")
    parser.add_argument("--data-dir", type=Path, help="a folder with Fashion-MNIST's files")
    parser.add_argument("--picture", type=Path, help="a PNG file; a row for each class")
    parser.add_argument("--output", type=Path, help="a JSON file with all numbers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    training, test = fashion_mnist(given.data_dir)
    pair = flows(given)
    steps = train(pair, training, given)
    for flow in pair.values():
        flow.eval()
    own, plain, wrong = (
        evaluated(pair[name], test, classes)
        for name, classes in (
            (WITH, test.classes),
            (WITHOUT, known(WITHOUT, test.classes)),
            (WITH, (test.classes + 1) % CLASSES),
        )
    )
    difference = plain - own
    found = {
        "training steps": steps,
        f"bits per dimension {WITH}": own.mean().item(),
        f"bits per dimension {WITHOUT}": plain.mean().item(),
        "difference": difference.mean().item(),
        "standard error of the difference": difference.std().item() / math.sqrt(len(own)),
        "bits per dimension with a wrong class": wrong.mean().item(),
        "share classified by density": accuracy(pair[WITH], test.first(2000)),
    }
    for name, value in found.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    if given.picture:
        save_grid(draw(pair[WITH], 12, given.temperature), given.picture, scale=2)
    if given.output:
        settings = {n: v for n, v in vars(given).items() if not isinstance(v, Path)}
        text = json.dumps({"machine": machine.facts(), "settings": settings} | found, indent=1)
        files.write_text(given.output, text + "\n")


if __name__ == "__main__":
    main()

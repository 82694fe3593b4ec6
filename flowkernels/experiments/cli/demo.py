"""``flowkernels demo``: training, scoring and pictures on real images, in minutes."""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Annotated

import typer

from flowkernels.experiments.cli.evaluate import LABELS, evaluate_run, print_scores
from flowkernels.experiments.cli.folders import require_writable
from flowkernels.experiments.cli.pictures import draw_interpolation, draw_samples
from flowkernels.experiments.cli.train import run_training
from flowkernels.experiments.data import ImageDataset
from flowkernels.experiments.data.files import write_json
from flowkernels.experiments.training import Run, RunConfig

__all__ = ["DEMO", "demo", "steps_that_fit"]

# The largest number of steps; `steps_that_fit` reduces it on slower machines.
DEMO = RunConfig(
    data="fashion-mnist",
    base="vmf",
    concentration_scale=1.0,
    levels=2,
    steps=8,
    hidden=32,
    alpha=1e-5,
    batch_size=64,
    epochs=8,
    steps_per_epoch=600,
    learning_rate=1e-2,
    checkpoint_every=200,
    accelerator="cpu",
)
_FEWEST_STEPS = 50


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for all files.", metavar="FOLDER")] = Path(
        "demo"
    ),
    minutes: Annotated[
        float, typer.Option(help="Approximate time for training and scoring.", min=0.1, max=100_000)
    ] = 4.0,
) -> None:
    """Train a small vMF flow on Fashion-MNIST, score it, sample and interpolate: about 5 minutes.

    The number of steps is chosen from the machine's speed. After an interruption, the same command
    resumes the demo.

        flowkernels demo

        flowkernels demo runs/longer --minutes 20
    """
    from flowkernels.experiments.evaluation import save_curve
    from flowkernels.experiments.training import cpu_threads, read_history

    started = time.monotonic()
    require_writable(folder)
    run = Run(folder)
    typer.echo("1/3 Training a flow with a von Mises-Fisher base on Fashion-MNIST")
    settings = _settings(run, minutes)
    run_training(settings, run, resume=True)
    typer.echo("2/3 Scoring it on the test images")
    with cpu_threads(settings.threads):
        result = evaluate_run(run, checkpoint="last")
    print_scores(result)
    write_json(run.path / "metrics.json", result)
    typer.echo("3/3 Drawing pictures")
    name = "diagonal_gaussian_logit"
    references = {LABELS[name]: result["scores"][name]["bpd"]}
    history = read_history(run.history_file)
    picture = run.path / "interpolation.png"
    files = {
        "scores": run.path / "metrics.json",
        "training": run.history_file,
        "loss curve": save_curve(history, run.path / "loss.png", references=references),
        "samples": draw_samples(run, run.path / "samples.png", checkpoint="last"),
        "interpolation": draw_interpolation(run, picture, checkpoint="last"),
        "checkpoint": run.last,
    }
    typer.echo(f"\nDone in {time.monotonic() - started:.0f} s. Files:")
    for name, path in files.items():
        typer.echo(f"  {name:14s}{path}")


def steps_that_fit(
    config: RunConfig, seconds: float, *, step_seconds: float, test_images: int
) -> int:
    """The steps per epoch for which training and scoring take about `seconds` seconds.

    Scoring an image (two flows on the test images, one on the validation images of each epoch)
    takes a third of the time of training on it, because it needs only the forward pass.

    Example:
        >>> steps_that_fit(DEMO, 100, step_seconds=0.05, test_images=10_000)
        231
    """
    scored = config.epochs * config.val_size + 2 * test_images
    steps = seconds / step_seconds - scored / 3 / config.batch_size
    most = config.steps_per_epoch or _FEWEST_STEPS
    return min(most, max(_FEWEST_STEPS, int(steps / config.epochs)))


def _settings(run: Run, minutes: float) -> RunConfig:
    """The settings of an existing run, or those that fit this machine."""
    import torch

    from flowkernels.experiments.training import data_module

    if run.config_file.exists():
        return run.image_config()
    data = data_module(DEMO)
    # More threads are not always faster: on a busy machine they wait for each other.
    choices = sorted({1, torch.get_num_threads()})
    timed = {threads: _time_of_a_step(DEMO, data.dataset, threads) for threads in choices}
    threads = min(timed, key=lambda threads: timed[threads])
    step_seconds = timed[threads]
    steps = steps_that_fit(
        DEMO, 60 * minutes, step_seconds=step_seconds, test_images=len(data.dataset.test)
    )
    typer.echo(
        f"A step of {DEMO.batch_size} images takes {1000 * step_seconds:.0f} ms here "
        f"on {threads} thread(s): "
        f"{DEMO.epochs} times {steps} steps"
    )
    return dataclasses.replace(DEMO, steps_per_epoch=steps, threads=threads)


def _time_of_a_step(
    config: RunConfig, dataset: ImageDataset, threads: int, steps: int = 12
) -> float:
    """The median time of a training step, in seconds."""
    import torch

    from flowkernels.experiments.evaluation import fixed_noise
    from flowkernels.experiments.training import build_flow, cpu_threads

    images = dataset.train[: config.batch_size]
    flow = build_flow(config, dataset.shape)
    optimizer = torch.optim.AdamW(flow.parameters())
    times = []
    with fixed_noise(0), cpu_threads(threads):
        for _ in range(steps):
            begun = time.perf_counter()
            optimizer.zero_grad()
            flow.bits_per_dim(images).mean().backward()
            optimizer.step()
            times.append(time.perf_counter() - begun)
    # The first steps also allocate memory and select algorithms.
    return statistics.median(times[steps // 3 :])

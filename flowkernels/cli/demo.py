"""``flowkernels demo``: the whole road on real images, in minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from flowkernels.cli.evaluate import LABELS, evaluate_run, print_scores
from flowkernels.cli.pictures import draw_interpolation, draw_samples
from flowkernels.cli.train import run_training
from flowkernels.training import Run, RunConfig

__all__ = ["DEMO", "demo"]

# What two CPU cores reach in about four minutes; see the README for the scores.
DEMO = RunConfig(
    data="fashion-mnist",
    base="vmf",
    concentration_scale=1.0,
    levels=2,
    steps=4,
    hidden=32,
    batch_size=32,
    epochs=8,
    steps_per_epoch=500,
    learning_rate=2e-3,
    checkpoint_every=250,
    accelerator="cpu",
)


def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything goes.", metavar="FOLDER")] = Path(
        "demo"
    ),
) -> None:
    """Train a small vMF flow on Fashion-MNIST, score it, sample and interpolate: about 5 minutes.

    Interrupted or killed, it goes on where it stopped when it is called again.

        flowkernels demo
    """
    from flowkernels.evaluation import save_curve
    from flowkernels.training import read_history

    started = time.monotonic()
    run = Run(folder)
    typer.echo("1/3 Training a flow with a von Mises-Fisher base on Fashion-MNIST")
    run_training(DEMO, run, resume=True)
    typer.echo("2/3 Scoring it on the test images")
    result = evaluate_run(run, checkpoint="last")
    print_scores(result)
    typer.echo("3/3 Drawing")
    references = {
        LABELS[name]: result["scores"][name]["bpd"] for name in ("diagonal_gaussian_logit",)
    }
    history = read_history(run.history_file)
    files = {
        "scores": run.path / "metrics.json",
        "training": run.history_file,
        "loss curve": save_curve(history, run.path / "loss.png", references=references),
        "samples": draw_samples(run, run.path / "samples.png", checkpoint="last"),
        "interpolation": draw_interpolation(run, run.path / "interpolation.png", checkpoint="last"),
        "checkpoint": run.last,
    }
    typer.echo(f"\nDone in {time.monotonic() - started:.0f} s. What it left:")
    for name, path in files.items():
        typer.echo(f"  {name:14s}{path}")

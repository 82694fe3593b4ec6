"""``flowkernels train``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from flowkernels.bases import base_names
from flowkernels.data import DATASETS
from flowkernels.training import Run, RunConfig

__all__ = ["run_training", "train"]

_DEFAULTS = RunConfig()


def _setting(name: str, text: str, panel: str) -> Any:
    """An option for a setting of :class:`RunConfig`; its default is told, not passed on."""
    default = getattr(_DEFAULTS, name)
    told = "" if default is None else f" [default: {default}]"
    return typer.Option(f"--{name.replace('_', '-')}", help=text + told, rich_help_panel=panel)


_DATA, _FLOW, _TRAINING, _MACHINE = "Data", "Flow", "Training", "Machine and records"
_BASES = ", ".join(f"`{name}`" for name in base_names())
_NAMES = ", ".join(f"`{name}` ({entry.summary})" for name, entry in DATASETS.items())


def train(
    run: Annotated[Path, typer.Argument(help="Folder of the run; it is made.", metavar="RUN")],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the newest checkpoint, exactly; or begin."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings from a JSON file, such as another run's config.json."),
    ] = None,
    data: Annotated[str | None, _setting("data", f"Data set: {_NAMES}.", _DATA)] = None,
    data_dir: Annotated[str | None, _setting("data_dir", "Folder of its files.", _DATA)] = None,
    val_size: Annotated[
        int | None, _setting("val_size", "Training images held out for validation.", _DATA)
    ] = None,
    levels: Annotated[
        int | None, _setting("levels", "Scales; each halves the image's sides.", _FLOW)
    ] = None,
    steps: Annotated[int | None, _setting("steps", "Glow steps per scale.", _FLOW)] = None,
    hidden: Annotated[
        int | None, _setting("hidden", "Channels of the coupling networks.", _FLOW)
    ] = None,
    alpha: Annotated[
        float | None, _setting("alpha", "Margin of the logit in front of the flow.", _FLOW)
    ] = None,
    base: Annotated[str | None, _setting("base", f"Base distribution: {_BASES}.", _FLOW)] = None,
    concentration_scale: Annotated[
        float | None,
        _setting(
            "concentration_scale",
            "c of the base: concentration c d on a sphere, c in every coordinate on the simplex.",
            _FLOW,
        ),
    ] = None,
    epochs: Annotated[int | None, _setting("epochs", "Passes over the images.", _TRAINING)] = None,
    steps_per_epoch: Annotated[
        int | None,
        _setting("steps_per_epoch", "Batches in an epoch, where not all.", _TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None, _setting("batch_size", "Images per step and device.", _TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None, _setting("learning_rate", "Adam's, at its peak.", _TRAINING)
    ] = None,
    weight_decay: Annotated[
        float | None, _setting("weight_decay", "Decoupled weight decay.", _TRAINING)
    ] = None,
    schedule: Annotated[
        str | None, _setting("schedule", "`cosine` to zero, or `constant`.", _TRAINING)
    ] = None,
    warmup_steps: Annotated[
        int | None, _setting("warmup_steps", "Steps of rising learning rate.", _TRAINING)
    ] = None,
    gradient_clip: Annotated[
        float | None, _setting("gradient_clip", "Largest norm of the gradient.", _TRAINING)
    ] = None,
    seed: Annotated[
        int | None, _setting("seed", "Of weights, image order and noise.", _TRAINING)
    ] = None,
    precision: Annotated[
        str | None, _setting("precision", "`32-true`, `64-true` or `bf16-mixed`.", _MACHINE)
    ] = None,
    accelerator: Annotated[
        str | None, _setting("accelerator", "`cpu`, `gpu` or `auto`.", _MACHINE)
    ] = None,
    threads: Annotated[
        int | None, _setting("threads", "CPU threads of each process.", _MACHINE)
    ] = None,
    devices: Annotated[
        int | None, _setting("devices", "How many, by distributed data parallelism.", _MACHINE)
    ] = None,
    checkpoint_every: Annotated[
        int | None, _setting("checkpoint_every", "Steps between checkpoints.", _MACHINE)
    ] = None,
    log_every: Annotated[
        int | None, _setting("log_every", "Steps between rows of metrics.csv.", _MACHINE)
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Write TensorBoard events too.", rich_help_panel=_MACHINE
        ),
    ] = False,
) -> None:
    """Train a flow and leave everything in the folder RUN.

    RUN gets `config.json` (the settings), `metrics.csv` (bits per dimension over the steps),
    `checkpoints/last.ckpt` and `checkpoints/best.ckpt`. Training that was stopped or killed goes
    on with `--resume`, number for number as if nothing had happened (on the CPU).

        flowkernels train runs/digits --data digits --levels 1 --epochs 20

        flowkernels train runs/digits --resume

        flowkernels train runs/kmnist --data idx --data-dir ~/kmnist --base normal

        flowkernels train runs/again --config runs/digits/config.json --seed 1
    """
    if data_dir is not None:
        # The run is read from other folders, too.
        data_dir = str(Path(data_dir).expanduser().resolve())
    given = locals()
    changes = {
        field.name: given[field.name]
        for field in dataclasses.fields(RunConfig)
        if given[field.name] is not None
    }
    folder = Run(run)
    if config is not None:
        start = RunConfig.load(config)
    elif resume and folder.config_file.exists():
        start = folder.config()
    else:
        start = RunConfig()
    settings = RunConfig.from_dict({**start.to_dict(), **changes})
    run_training(settings, folder, resume=resume, tensorboard=tensorboard)
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    typer.echo(
        f"Trained. Settings, metrics.csv and checkpoints are in {run}\n"
        f"Next: flowkernels evaluate {run}"
    )


def run_training(config: RunConfig, run: Run, *, resume: bool, tensorboard: bool = False) -> None:
    """Train, turning divergence and interruption into a message and an exit status."""
    from flowkernels.training import NonFiniteError, fit

    try:
        fit(config, run.path, resume=resume, tensorboard=tensorboard)
    except NonFiniteError as error:
        typer.secho(f"stopped: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        again = f"flowkernels train {run.path} --resume"
        typer.echo(f"\nInterrupted. Go on where it stopped: {again}", err=True)
        raise typer.Exit(130) from error

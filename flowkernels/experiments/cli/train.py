"""``flowkernels train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from flowkernels.experiments.cli.options import with_settings
from flowkernels.experiments.training import Run, RunConfig

__all__ = ["run_training", "train"]


def _folder(text: str) -> Path:
    """A path; the empty one, often a variable of the shell that is not set, would be here."""
    if not text:
        raise typer.BadParameter("must name a folder, got nothing; '.' is this one")
    return Path(text)


@with_settings(RunConfig)
def train(
    run: Annotated[
        Path,
        typer.Argument(help="Folder of the run, to be created.", metavar="RUN", parser=_folder),
    ],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the newest undamaged checkpoint, if any."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings from a JSON file, such as another run's config.json."),
    ] = None,
    *,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write TensorBoard events.",
            rich_help_panel="Machine and records",
        ),
    ] = False,
    **given: Any,
) -> None:
    """Train a flow and write all results to the folder RUN.

    RUN gets `config.json` (the settings), `metrics.csv` (bits per dimension over the steps),
    `checkpoints/last.ckpt` and `checkpoints/best.ckpt`. `--resume` continues interrupted or killed
    training; on the CPU the results are identical to those of an uninterrupted run.

    With `--resume`, settings that do not say "A resumed run keeps it" may change, for instance
    `--epochs` to train longer. The learning rate goes on with the schedule of the new length: a
    cosine that had reached zero rises again to its value at this step of the longer run.

        flowkernels train runs/digits --data digits --levels 1 --epochs 20

        flowkernels train runs/digits --resume

        flowkernels train runs/digits --resume --epochs 40

        flowkernels train runs/kmnist --data idx --data-dir ~/kmnist --base normal

        flowkernels train runs/again --config runs/digits/config.json --seed 1
    """
    if given.get("data_dir") is not None:
        # The run may later be read from another working directory.
        given["data_dir"] = str(Path(given["data_dir"]).expanduser().resolve())
    folder = Run(run)
    if config is not None:
        start = RunConfig.load(config)
    elif resume and folder.config_file.exists():
        start = folder.config()
    else:
        start = RunConfig()
    settings = RunConfig.from_dict({**start.to_dict(), **given})
    run_training(settings, folder, resume=resume, tensorboard=tensorboard)
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    typer.echo(
        f"Trained. Settings, metrics.csv and checkpoints are in {run}\n"
        f"Next: {folder.command('evaluate')}"
    )


def run_training(config: RunConfig, run: Run, *, resume: bool, tensorboard: bool = False) -> None:
    """Train; divergence and interruption become a message and an exit status."""
    from flowkernels.experiments.training import NonFiniteError, fit

    try:
        fit(config, run.path, resume=resume, tensorboard=tensorboard)
    except NonFiniteError as error:
        typer.secho(f"stopped: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        again = run.command("train", "--resume")
        typer.echo(f"\nInterrupted. To resume: {again}", err=True)
        raise typer.Exit(130) from error

"""``flowkernels train``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from flowkernels.experiments.cli.folders import require_writable
from flowkernels.experiments.cli.options import with_settings
from flowkernels.experiments.training import (
    ConfigError,
    Run,
    RunConfig,
    TableConfig,
    TimeLimit,
    TimeLimitError,
)
from flowkernels.experiments.training.table_config import config_kind, is_table, load_config

__all__ = ["run_training", "train"]


def _folder(text: str) -> Path:
    """A path; the empty one, often a variable of the shell that is not set, would be here."""
    if not text:
        raise typer.BadParameter("must name a folder, got an empty name; '.' is the current folder")
    return Path(text)


@with_settings(RunConfig, TableConfig)
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
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop after this time with a checkpoint, from which `--resume` goes on.",
            rich_help_panel="Machine and records",
            min=0,
        ),
    ] = None,
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

    RUN gets `config.json` (the settings), `metrics.csv` (the score over the steps: bits per
    dimension of images, nats a row of a table),
    `checkpoints/last.ckpt` and `checkpoints/best.ckpt`. `--resume` continues interrupted or killed
    training; on the CPU the results are identical to those of an uninterrupted run.

    With `--resume`, settings that do not say "A resumed run keeps it" may change, for instance
    `--epochs` to train longer. The learning rate goes on with the schedule of the new length: a
    cosine that had reached zero rises again to its value at this step of the longer run.

        flowkernels train runs/digits --data digits --levels 1 --epochs 20

        flowkernels train runs/digits --resume

        flowkernels train runs/digits --resume --epochs 40

        flowkernels train runs/digits --resume --minutes 30

        flowkernels train runs/kmnist --data idx --data-dir ~/kmnist --base normal

        flowkernels train runs/again --config runs/digits/config.json --seed 1

    `--data TABLE.csv` trains on a table: one row a datum, numbers, with or without a header.
    `--context` names the columns that are given. The best validated checkpoint is the one that
    `evaluate` and `sample` take.

        flowkernels train runs/wine --data wine.csv --context alcohol,hue --flow maf
    """
    limit = TimeLimit(minutes)
    for name in ("data_dir", "data"):
        # The run may later be read from another working directory.
        if given.get(name) is not None and (name == "data_dir" or is_table(given[name])):
            given[name] = str(Path(given[name]).expanduser().resolve())
    folder = Run(run)
    if folder.path.is_file() and is_table(str(folder.path)):
        raise ConfigError(
            f"RUN: expected the folder of a new run, got the table {run}; "
            f"name it with --data: flowkernels train FOLDER --data {run}"
        )
    settings = _settings(folder, resume, config, given)
    run_training(settings, folder, resume=resume, tensorboard=tensorboard, limit=limit)
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    typer.echo(
        f"Trained. Settings, metrics.csv and checkpoints are in {run}\n"
        f"Next: {folder.command('evaluate')}"
    )


def _settings(
    run: Run, resume: bool, config: Path | None, given: dict[str, Any]
) -> RunConfig | TableConfig:
    """The settings of a file or of the resumed run, and over them those of the command line."""
    start: dict[str, Any] = {}
    if config is not None:
        start = load_config(config).to_dict()
    elif resume and run.config_file.exists():
        start = run.config().to_dict()
    kind = config_kind({**start, **given})
    if start and config_kind(start) is not kind:
        raise ConfigError(
            f"data: expected {config_kind(start).subject}, as {config or run.config_file} has, "
            f"got {kind.subject} ({given['data']})"
        )
    known = {field.name for field in dataclasses.fields(kind)}
    if strange := [name for name in given if name not in known]:
        data = {"data": RunConfig().data, **start, **given}["data"]
        other = RunConfig if kind is TableConfig else TableConfig
        raise ConfigError(
            f"{', '.join(strange)}: only for --data of {other.subject}, got --data of "
            f"{kind.subject} ({data})"
        )
    return kind.from_dict({**start, **given})


def run_training(
    config: RunConfig | TableConfig,
    run: Run,
    *,
    resume: bool,
    tensorboard: bool = False,
    limit: TimeLimit | None = None,
) -> None:
    """Train; divergence, interruption and the end of the time become a message and a status."""
    from flowkernels.experiments.training import NonFiniteError, fit

    require_writable(run.path)
    try:
        fit(config, run.path, resume=resume, tensorboard=tensorboard, limit=limit)
    except TimeLimitError as error:
        if not int(os.environ.get("LOCAL_RANK", "0")):
            message = f"{str(error)[0].upper()}{str(error)[1:]}"
            typer.echo(f"{message}. To resume: {run.command('train', '--resume')}")
        raise typer.Exit from error
    except NonFiniteError as error:
        typer.secho(f"stopped: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        again = run.command("train", "--resume")
        typer.echo(f"\nInterrupted. To resume: {again}", err=True)
        raise typer.Exit(130) from error

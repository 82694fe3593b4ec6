"""The command-line application and its error handling."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Annotated

import typer

from flowkernels import __version__
from flowkernels.experiments.cli.demo import demo
from flowkernels.experiments.cli.evaluate import evaluate
from flowkernels.experiments.cli.info import info
from flowkernels.experiments.cli.memory import keep_freed_memory
from flowkernels.experiments.cli.pictures import interpolate, sample
from flowkernels.experiments.cli.study import study
from flowkernels.experiments.cli.train import train
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.extras import MissingExtraError
from flowkernels.experiments.training import ConfigError, RunError

__all__ = ["app", "run"]

_HELP = """\
Train normalizing flows on images and tables, score them, sample from them, and interpolate between
images on the sphere.

A run is a folder: `train` creates it, the other commands read it and add files.

    flowkernels train runs/first --data digits --epochs 20
    flowkernels evaluate runs/first
    flowkernels sample runs/first
    flowkernels interpolate runs/first

A table may have a context, columns that are given: p(other columns | context).

    flowkernels train runs/wine --data wine.csv --context alcohol,hue
    flowkernels evaluate runs/wine
    flowkernels sample runs/wine --context alcohol=12.5,hue=1

`study` compares many runs: bases, paths, seeds.

Help on a command: `flowkernels train --help`.
"""

app = typer.Typer(
    name="flowkernels",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flowkernels {__version__}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None: ...


for command in (train, evaluate, interpolate, sample, study, info, demo):
    app.command()(command)


def run() -> int:
    """Run the command line; returns the exit status."""
    _quieten_lightning()
    keep_freed_memory()
    try:
        app()
    except (ConfigError, DataError, RunError, MissingExtraError, OSError) as error:
        # User errors: print the message without a traceback.
        typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(_told(error), err=True)
        return 2
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    return 0


def _told(error: Exception) -> str:
    """An error in one line; Python's own about a file begins with a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


def _quieten_lightning() -> None:
    # Hide messages about hardware and products; keep warnings.
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    # Show this package's messages (searching, downloading, a damaged checkpoint).
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("flowkernels.experiments")
    ours.handlers = [handler]  # of an earlier call in this process, there is one already
    ours.setLevel(logging.INFO)

"""``flowkernels study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["study"]


def study(
    config: Annotated[Path, typer.Argument(help="YAML file of the study.", metavar="CONFIG")],
    folder: Annotated[
        Path, typer.Argument(help="Folder for all files; each run gets a subfolder.")
    ],
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop after this time; the same command goes on. Scores and pictures that were "
            "begun are finished first.",
            min=0,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the data's files, instead of the configuration's."),
    ] = None,
) -> None:
    """Train the missing runs of a comparison, score all runs, write tables and pictures.

    An interrupted study resumes and gives the same table. Several processes may run the same
    command on a shared folder, by hand or under a launcher: each takes free tasks, and the last to
    finish writes the report.

        flowkernels study studies/digits.yaml runs/digits-study

        torchrun --nproc-per-node 2 -m flowkernels study studies/fashion_mnist.yaml runs/study

        flowkernels study fashion_mnist runs/study --minutes 55 --data-dir ~/fashion-mnist
    """
    from flowkernels.experiments.study import load_study, run_study
    from flowkernels.experiments.training import TimeLimit

    limit = TimeLimit(minutes)
    chosen = load_study(config)
    if data_dir is not None:
        # The runs may later be read from another working directory.
        chosen = chosen.with_data_dir(str(data_dir.expanduser().resolve()))
    run_study(chosen, folder, say=typer.echo, limit=limit)

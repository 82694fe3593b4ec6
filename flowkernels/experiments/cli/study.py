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
) -> None:
    """Train the missing runs of a comparison, score all runs, write tables and pictures.

    An interrupted study resumes and gives the same table. Several processes may run the same
    command on a shared folder, by hand or under a launcher: each takes free tasks, and the last to
    finish writes the report.

        flowkernels study studies/digits.yaml runs/digits-study

        torchrun --nproc-per-node 2 -m flowkernels study studies/fashion_mnist.yaml runs/study
    """
    from flowkernels.experiments.study import load_study, run_study

    run_study(load_study(config), folder, say=typer.echo)

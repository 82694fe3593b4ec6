"""``flowkernels study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["study"]


def study(
    config: Annotated[Path, typer.Argument(help="YAML file of the study.", metavar="CONFIG")],
    folder: Annotated[
        Path, typer.Argument(help="Where everything goes; each run in a folder of its own.")
    ],
) -> None:
    """Train what is missing of a comparison, score everything, write tables and pictures.

    Killed at any moment and started again it goes on where it stopped and gives the same table.
    The same command may run several times at once on a shared folder, by hand or under a
    launcher: every process takes what is free, and the last to finish writes the report.

        flowkernels study studies/digits.yaml runs/digits-study

        torchrun --nproc-per-node 2 -m flowkernels study studies/fashion_mnist.yaml runs/study
    """
    from flowkernels.experiments.study import load_study, run_study

    run_study(load_study(config), folder, say=typer.echo)

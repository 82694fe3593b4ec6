"""``flowkernels evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flowkernels.experiments.cli.tables import (
    SAMPLES,
    draw_calibration,
    evaluate_table,
    print_table_scores,
)
from flowkernels.experiments.data.files import write_json
from flowkernels.experiments.training import ConfigError, Run, TableConfig

__all__ = ["LABELS", "evaluate", "evaluate_run", "print_scores"]

LABELS = {
    "flow": "this flow",
    "untrained_flow": "the same flow, untrained (ActNorm started on one batch)",
    "diagonal_gaussian": "diagonal Gaussian on pixels",
    "diagonal_gaussian_logit": "diagonal Gaussian on logits (the flow without its layers)",
}


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    checkpoint: Annotated[
        str, typer.Option(help="`best`, `last`, `previous`, or the path of a checkpoint.")
    ] = "best",
    limit: Annotated[
        int | None,
        typer.Option(help="Number of test images or rows to score. [default: all]", min=1),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data, if it has moved.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help=f"Of a table: samples for each row, for the calibration. [default: {SAMPLES}]",
            min=1,
            max=100_000,
        ),
    ] = None,
) -> None:
    """Print the test scores of a trained flow and of baselines; write `RUN/metrics.json`.

    The score of images is in bits per dimension, lower is better: -log2 of the density of the
    dequantised image divided by the number of its pixels and channels, averaged over the test
    images with one draw of the noise each. The error is the standard error of this mean.

        flowkernels evaluate runs/digits

        flowkernels evaluate runs/digits --checkpoint last --limit 1000

    Of a table it is the log density of the test rows in nats a row, in the table's own units and of
    standardised columns, beside that of a Gaussian that is linear in the context. The calibration
    follows, also as a picture, `RUN/calibration.png`: the share of test rows inside the set of
    highest density that holds a nominal share of the flow's samples at the row's context, and the
    same of random sets (TARP, arXiv 2302.03026), with the binomial error. An overconfident flow
    covers less than the nominal share. p is the probability of such a deviation, or a larger one,
    of a calibrated flow (Kolmogorov-Smirnov).

        flowkernels evaluate runs/wine --samples 1000
    """
    folder = Run(run)
    config = folder.config()
    files: dict[Path, Callable[[Path], object]] = {}
    if isinstance(config, TableConfig):
        chosen = SAMPLES if samples is None else samples
        result, coverages = evaluate_table(
            folder, config, checkpoint=checkpoint, limit=limit, data_dir=data_dir, samples=chosen
        )
        print_table_scores(result)
        files[folder.path / "calibration.png"] = lambda path: draw_calibration(coverages, path)
    elif samples is not None:
        raise ConfigError(f"samples: only for a run on a table, {run} is a run on images")
    else:
        result = evaluate_run(folder, checkpoint=checkpoint, limit=limit, data_dir=data_dir)
        print_scores(result)
    files[folder.path / "metrics.json"] = lambda path: write_json(path, result)
    for target, write in files.items():
        try:
            write(target)
        except OSError as error:
            # The scores are printed, and a run on a read-only disk can be evaluated.
            typer.echo(f"Not written to {target}: {error.strerror or error}", err=True)
        else:
            typer.echo(f"Written to {target}")


def evaluate_run(
    run: Run, *, checkpoint: str = "best", limit: int | None = None, data_dir: str | None = None
) -> dict[str, Any]:
    """The scores of a run, the content of ``metrics.json``."""
    from rich.console import Console
    from rich.progress import Progress

    from flowkernels.experiments.evaluation import compare, round_trip_error, start_flow
    from flowkernels.experiments.training import build_flow, data_module, on_device

    config = run.image_config()
    flow, origin = run.load_flow(checkpoint)
    flow = on_device(flow, config)
    data = data_module(config, data_dir=data_dir)
    test = data.dataset.test[:limit]
    untrained = build_flow(config, data.dataset.shape).to(flow.dtype)
    untrained = start_flow(untrained, next(iter(data.train_dataloader())))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=len(LABELS) * len(test))
        scores = compare(
            flow,
            untrained,
            data.train_images,
            test,
            on_batch=lambda count: progress.advance(task, count),
        )
    return {
        "run": str(run.path),
        **origin,
        "data": data.dataset.name,
        "test_images": len(test),
        "dimensions": test[0].numel(),
        "scores": scores,
        "round_trip_error": round_trip_error(flow, test[:500]),
    }


def print_scores(result: dict[str, Any]) -> None:
    """Print the result of :func:`evaluate_run` as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{result['data']}: {result['test_images']} test images, step {result['step']}"
    )
    table.add_column("density")
    table.add_column("bits per dimension", justify="right")
    table.add_column("standard error", justify="right")
    for name, label in LABELS.items():
        if name in result["scores"]:
            score = result["scores"][name]
            style = "bold" if name == "flow" else None
            row = f"{score['bpd']:.4f}", f"{score['standard_error']:.4f}"
            table.add_row(label, *row, style=style)
    console = Console()
    console.print(table)
    console.print(
        "forward, then inverse: images return within "
        f"{result['round_trip_error']:.1e} (pixels in [0, 1], 500 test images at most)"
    )

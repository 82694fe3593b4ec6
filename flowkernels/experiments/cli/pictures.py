"""``flowkernels sample`` and ``flowkernels interpolate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flowkernels.experiments.cli.tables import draw_rows
from flowkernels.experiments.training import ConfigError, Run, TableConfig

__all__ = ["draw_interpolation", "draw_samples", "interpolate", "sample"]

_MOST_PIXELS = 1 << 27
_Run = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")]
_Checkpoint = Annotated[
    str, typer.Option(help="`best`, `last`, `previous`, or the path of a checkpoint.")
]
_Seed = Annotated[
    int, typer.Option(help="Seed of the choice of images, or of the samples.", min=0, max=2**64 - 1)
]
_Scale = Annotated[int, typer.Option(help="Picture pixels per image pixel.", min=1, max=64)]


def sample(
    run: _Run,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The PNG, of a table the CSV. [default: RUN/samples.png or .csv]"
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Rows of the grid. [default: 8]", min=1, max=1000)
    ] = None,
    columns: Annotated[
        int | None, typer.Option(help="Columns of the grid. [default: 12]", min=1, max=1000)
    ] = None,
    seed: _Seed = 0,
    checkpoint: _Checkpoint = "best",
    scale: Annotated[
        int | None,
        typer.Option(help="Picture pixels per image pixel. [default: 2]", min=1, max=64),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            help="Of a table: samples for each context. [default: 1000]", min=1, max=10**8
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a table: a value of each context column, `alcohol=12.5,hue=1`; repeatable."
        ),
    ] = None,
) -> None:
    """Draw images from a trained flow as a grid, or rows of a table as a CSV.

    flowkernels sample runs/digits

    flowkernels sample runs/digits --rows 4 --columns 4 --seed 1 -o four.png

    flowkernels sample runs/wine --context alcohol=12.5,hue=1 --count 100
    """
    folder = Run(run)
    config = folder.config()
    if isinstance(config, TableConfig):
        _refuse("images", run, rows=rows, columns=columns, scale=scale)
        target = output or folder.path / "samples.csv"
        drawn = draw_rows(
            folder, config, target, count=count or 1000, context=context or (), seed=seed,
            checkpoint=checkpoint,
        )  # fmt: skip
        typer.echo(drawn)
        return
    _refuse("a table", run, count=count, context=context or None)
    target = output or folder.path / "samples.png"
    size = (rows or 8, columns or 12)
    typer.echo(draw_samples(folder, target, size, seed, checkpoint, scale or 2))


def _refuse(subject: str, run: Path, **options: object) -> None:
    """Raise if options of runs on a subject are given to a run on another."""
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name}: only for a run on {subject}, which {run} is not")


def interpolate(
    run: _Run,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The PNG. [default: RUN/interpolation.png]"),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Rows: pairs of test images.", min=1, max=1000)] = 8,
    points: Annotated[int, typer.Option(help="Columns: points on the path.", min=2, max=1000)] = 11,
    path: Annotated[
        str | None,
        typer.Option(help="Path in the latent space. [default: the base's own]"),
    ] = None,
    seed: _Seed = 0,
    checkpoint: _Checkpoint = "best",
    scale: _Scale = 2,
) -> None:
    """Interpolate between test images in the latent space, one pair per row.

    The first and the last column are the test images. With a vMF base the path follows the great
    circle between their latents on the sphere.

        flowkernels interpolate runs/digits

        flowkernels interpolate runs/digits --pairs 4 --points 9 --path linear
    """
    folder = Run(run)
    target = output or folder.path / "interpolation.png"
    typer.echo(draw_interpolation(folder, target, (pairs, points), path, seed, checkpoint, scale))


def draw_samples(
    run: Run,
    target: Path,
    size: tuple[int, int] = (8, 12),
    seed: int = 0,
    checkpoint: str = "best",
    scale: int = 2,
) -> Path:
    """Write a grid of (rows, columns) samples; returns its path."""
    from flowkernels.experiments.evaluation import fixed_noise, save_grid

    flow, _ = run.load_flow(checkpoint)
    _check_picture(flow.event_shape, size, scale, "rows, columns, scale")
    with fixed_noise(seed):
        images = flow.sample(size)
    return save_grid(images, target, scale=scale)


def draw_interpolation(
    run: Run,
    target: Path,
    size: tuple[int, int] = (8, 11),
    path: str | None = None,
    seed: int = 0,
    checkpoint: str = "best",
    scale: int = 2,
) -> Path:
    """Write a grid of (pairs, points on the path); returns its path."""
    import torch

    from flowkernels.experiments.evaluation import save_grid
    from flowkernels.experiments.training import data_module
    from flowkernels.interpolation import path_names

    if path is not None and path not in path_names():
        raise ConfigError(f"path: expected one of {', '.join(path_names())}, got {path!r}")
    config = run.image_config()
    flow, _ = run.load_flow(checkpoint)
    _check_picture(flow.event_shape, size, scale, "pairs, points, scale")
    test = data_module(config).dataset.test
    pairs, points = size
    if 2 * pairs > len(test):
        raise ConfigError(f"pairs: expected at most {len(test) // 2} of the test set, got {pairs}")
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[: 2 * pairs]
    ends = test[chosen].to(flow.dtype)
    t = torch.linspace(0, 1, points, dtype=flow.dtype)
    with torch.no_grad():
        images = flow.interpolate(ends[:pairs], ends[pairs:], t, path)
    return save_grid(images, target, scale=scale)


def _check_picture(
    event_shape: Sequence[int], size: tuple[int, int], scale: int, settings: str
) -> None:
    """Raise if a grid of images would be a picture that no viewer shows."""
    height, width = (
        count * side * scale for count, side in zip(size, event_shape[1:], strict=True)
    )
    if height * width > _MOST_PIXELS:
        raise ConfigError(
            f"{settings}: expected a picture of at most {_MOST_PIXELS} pixels, got "
            f"{height} x {width}"
        )

"""Pictures of densities in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkernels.experiments.data.errors import DamagedFileError, short
from flowkernels.experiments.data.extras import require
from flowkernels.experiments.data.files import atomic_write

__all__ = ["density_rows", "kept_cell"]

Array = npt.NDArray[np.floating]
# A title, draws (n, 2) and a density (points, points), first coordinate first.
Cell = tuple[str, Array, Array]


def kept_cell(title: str, folder: Path) -> Cell:
    """A cell from the draws and the density that a task kept in its folder.

    Raises:
        DamagedFileError: the file is missing or damaged.
    """
    file = folder / "samples.npz"
    try:
        with np.load(file, allow_pickle=False) as kept:
            return title, kept["samples"], kept["density"]
    except Exception as error:  # a damaged archive can make the reader raise anything
        raise DamagedFileError(
            f"{file}: damaged, expected the draws of a task ({short(error)}); remove "
            f"{folder / 'result.json'} to compute them again"
        ) from error


def density_rows(rows: Sequence[tuple[str, float, Sequence[Cell]]], path: Path) -> Path:
    """One row per target; a density and a histogram of draws for every cell, as one PNG.

    Args:
        rows: label, half the side of the square shown, and cells, the same number in each row.
        path: of the PNG.
    """
    require("matplotlib", extra="train", purpose="plotting densities")
    from matplotlib.figure import Figure

    columns = 2 * len(rows[0][2])
    figure = Figure(figsize=(2.0 * columns, 2.1 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for number, (label, extent, cells) in enumerate(rows):
        line = grid[number]
        # All cells of a row use the colour scale of the first cell, the target.
        top = float(cells[0][2].max())
        box = (-extent, extent, -extent, extent)
        for index, (title, draws, density) in enumerate(cells):
            left, right = line[2 * index], line[2 * index + 1]
            left.imshow(density.T, origin="lower", extent=box, vmin=0, vmax=top, cmap="viridis")
            counts, _, _ = np.histogram2d(
                draws[:, 0], draws[:, 1], bins=100, range=[box[:2], box[2:]]
            )
            right.imshow(counts.T, origin="lower", extent=box, cmap="magma")
            if number == 0:
                left.set_title(f"{title}\ndensity", fontsize=9)
                right.set_title(f"{title}\nsamples", fontsize=9)
        line[0].set_ylabel(label)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
    return path

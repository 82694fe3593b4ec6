"""Grids of images, loss curves and calibration as PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowkernels.experiments.data.extras import require
from flowkernels.experiments.data.files import atomic_write
from flowkernels.experiments.evaluation.calibration import Coverage, binomial_band

__all__ = ["grid", "save_calibration", "save_curve", "save_grid"]


def grid(images: Tensor, *, scale: int = 2, gap: int = 2) -> Tensor:
    """Images in rows and columns on a white background.

    Args:
        images: (rows, columns, C, H, W), levels from 0 to 255; C is 1 or 3.
        scale: picture pixels per image pixel.
        gap: pixels between images.

    Returns:
        (height, width, C) uint8.

    Raises:
        ValueError: the shape is wrong.

    Example:
        >>> grid(torch.zeros(2, 3, 1, 4, 4), scale=1, gap=1).shape
        torch.Size([11, 16, 1])
    """
    if images.ndim != 5 or images.shape[2] not in (1, 3):
        raise ValueError(
            f"images: expected shape (rows, columns, 1 or 3, H, W), got {tuple(images.shape)}"
        )
    levels = images.detach().cpu().floor().clamp(0, 255).to(torch.uint8)
    levels = levels.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    rows, columns, channels, height, width = levels.shape
    picture = torch.full(
        (gap + rows * (height + gap), gap + columns * (width + gap), channels),
        255,
        dtype=torch.uint8,
    )
    for row in range(rows):
        for column in range(columns):
            top, left = gap + row * (height + gap), gap + column * (width + gap)
            picture[top : top + height, left : left + width] = levels[row, column].permute(1, 2, 0)
    return picture


def save_grid(images: Tensor, path: str | os.PathLike[str], *, scale: int = 2) -> Path:
    """Write images (rows, columns, C, H, W) as one PNG; see :func:`grid`."""
    image = require("PIL.Image", extra="train", purpose="writing a PNG")
    picture = grid(images, scale=scale).numpy()
    with atomic_write(path) as file:
        image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
            file, format="PNG", optimize=True
        )
    return Path(path)


def save_curve(
    history: dict[str, list[tuple[int, float]]],
    path: str | os.PathLike[str],
    *,
    references: dict[str, float] | None = None,
) -> Path:
    """Plot bits per dimension over steps.

    Args:
        history: what :func:`flowkernels.experiments.training.history.read_history` returns.
        path: the PNG to write.
        references: scores by name, drawn as horizontal lines.
    """
    require("matplotlib", extra="train", purpose="plotting a loss curve")
    # The object-oriented interface: pyplot would pick a backend for the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (("train_bpd", "training", "-"), ("val_bpd", "validation", "o-")):
        if points := history.get(name):
            axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1, markersize=4)
    for index, (name, value) in enumerate((references or {}).items()):
        axes.axhline(value, label=f"{name} ({value:.2f})", linestyle="--", color=f"C{index + 2}")
    values = np.array([value for name in ("train_bpd", "val_bpd") for _, value in history[name]])
    if values.size:
        # The first steps are far above the rest and would flatten the curve.
        top = max([float(np.quantile(values, 0.95)), *(references or {}).values()])
        low = float(values.min())
        axes.set_ylim(low - 0.1 * (top - low + 0.1), top + 0.1 * (top - low + 0.1))
    axes.set_xlabel("step")
    axes.set_ylabel("bits per dimension")
    axes.legend()
    axes.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return Path(path)


def save_calibration(coverages: Mapping[str, Coverage], path: str | os.PathLike[str]) -> Path:
    """Plot empirical against nominal coverage, with the band of the binomial error at 95 %.

    Args:
        coverages: by label, all of as many data.
        path: the PNG to write.
    """
    require("matplotlib", extra="train", purpose="plotting calibration")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    count = next(iter(coverages.values())).count
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    low, high = binomial_band(levels, count)
    axes.fill_between(levels, low, high, color="0.85", label=f"95 % of {count} rows")
    axes.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle="--", label="calibrated")
    for label, found in coverages.items():
        axes.plot(
            [0, *found.nominal.tolist()],
            [0, *found.empirical.tolist()],
            label=f"{label} (p = {found.p_value:.2g})",
            linewidth=1.5,
        )
    axes.set_xlabel("nominal coverage")
    axes.set_ylabel("empirical coverage")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return Path(path)

"""The pictures of an image study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from flowkernels.experiments.data.extras import require
from flowkernels.experiments.data.files import atomic_write
from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.evaluation.pictures import save_grid
from flowkernels.experiments.study.image_metrics import (
    Comparison,
    Metric,
    Row,
    Scores,
    base_metrics,
    path_metrics,
)
from flowkernels.experiments.study.image_plan import task_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_Pictures = dict[str, dict[str, torch.Tensor]]


def draw(scores: Scores, folder: Path) -> list[Path]:
    """Draw ``walks0.png`` and so on, samples, lengths of latents, profiles and differences.

    The walks, samples and lengths are of the first seed. There are differences only between several
    models or paths, with several seeds.
    """
    seed = scores.plan.seeds[0]
    kept = {
        model.folder: load_tensors(folder / task_name(model, seed) / "pictures.pt")
        for model in scores.plan.models
    }
    files = [
        _walks(scores, kept, pair, folder / f"walks{pair}.png")
        for pair in range(scores.plan.evaluation.shown)
    ]
    samples = torch.stack([images["samples"] for images in kept.values()])
    files.append(save_grid(samples, folder / "samples.png"))
    files.append(_norms(scores, kept, folder / "norms.png"))
    files.append(_profile(scores, folder / "profile.png"))
    if len(scores.plan.seeds) > 1 and (scores.base_comparisons or scores.path_comparisons):
        files.append(_differences(scores, folder / "differences.png"))
    return files


def _of(kept: _Pictures, row: Row, part: str) -> torch.Tensor:
    return kept[row.model.folder][f"{row.path}.{part}"]


def _walks(scores: Scores, kept: _Pictures, pair: int, path: Path) -> Path:
    """The same two images joined by every path, a row each."""
    rows = scores.paths
    columns = len(_of(kept, rows[0], "walks")[pair])
    figure = _figure((1.25 * columns + 2.5, 1.25 * len(rows) + 0.3))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for number, row in enumerate(rows):
        line = grid[number]
        for column, image in enumerate(_of(kept, row, "walks")[pair]):
            panel = line[column]
            panel.set_axis_off()
            shown = image.permute(1, 2, 0).squeeze(-1).numpy()
            panel.imshow(shown, cmap="gray", vmin=0, vmax=255)
            if number == 0:
                panel.set_title(f"t = {column / (columns - 1):.2f}", fontsize=10)
        name = row.label.replace(", ", ",\n")
        line[0].text(
            -0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=11
        )
    return _save(figure, path)


def _norms(scores: Scores, kept: _Pictures, path: Path) -> Path:
    """Lengths of the latents at the ends and in the middle, one panel per path."""
    rows = scores.paths
    columns = min(3, len(rows))
    figure = _figure((4.5 * columns, 2.6 * -(-len(rows) // columns)))
    panels = figure.subplots(-(-len(rows) // columns), columns, squeeze=False).flatten()
    for panel, row in zip(panels, rows, strict=False):
        for part, label in (("end_norm", "ends"), ("middle_norm", "middle")):
            values = _of(kept, row, part)
            low, high = values.quantile(0.005), values.quantile(0.995)
            inside = values[(values >= low) & (values <= high)]
            panel.hist(inside.numpy(), bins=40, density=True, alpha=0.6, label=label)
        panel.set_title(row.label, fontsize=10)
        panel.set_xlabel("|z|")
        panel.set_yticks([])
        panel.legend(fontsize=8)
    for panel in panels[len(rows) :]:
        panel.set_axis_off()
    return _save(figure, path)


def _profile(scores: Scores, path: Path) -> Path:
    """Bits per dimension along the paths, mean and range over the seeds."""
    figure = _figure((7.0, 4.2))
    axes = figure.subplots()
    for row in scores.paths:
        lines = torch.tensor([found["profile"] for found in scores.of_row(row)])
        t = torch.linspace(0, 1, lines.shape[1]).numpy()
        (line,) = axes.plot(t, lines.mean(0).numpy(), marker="o", markersize=3, label=row.label)
        low, high = lines.amin(0).numpy(), lines.amax(0).numpy()
        axes.fill_between(t, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set_xlabel("t")
    axes.set_ylabel("bits per dimension, mean over the walks")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _save(figure, path)


def _differences(scores: Scores, path: Path) -> Path:
    """Paired differences with 95 % intervals, one panel for each of the main numbers."""
    names = scores.extractors
    panels = [
        (metric, comparisons, of)
        for comparisons, metrics, of in (
            (scores.base_comparisons, base_metrics(names), "samples"),
            (scores.path_comparisons, path_metrics(names), "paths"),
        )
        for metric in metrics
        if comparisons and ("BPD" in metric.title or "FID" in metric.title)
    ]
    columns = 2
    heights = [
        max(len(comparisons) for _, comparisons, _ in panels[i : i + columns])
        for i in range(0, len(panels), columns)
    ]
    figure = _figure((12.0, sum(0.32 * height + 1.0 for height in heights)))
    grid = figure.subplots(
        len(heights),
        columns,
        squeeze=False,
        gridspec_kw={"height_ratios": [h + 2 for h in heights]},
    ).flatten()
    for axes, (metric, comparisons, of) in zip(grid, panels, strict=False):
        _forest(axes, metric, comparisons)
        axes.set_title(metric.title + (f", {of}" if "FID" in metric.title else ""), fontsize=10)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return _save(figure, path)


def _forest(axes: Axes, metric: Metric, comparisons: Sequence[Comparison]) -> None:
    """One line for each comparison: the interval, and a dot for each seed."""
    for height, each in enumerate(comparisons):
        difference = each.differences[metric.title]
        axes.plot(difference.values, [height] * len(difference.values), "o", color="0.6", ms=4)
        axes.errorbar(
            difference.mean,
            height,
            xerr=difference.half_width,
            fmt="D",
            ms=5,
            capsize=3,
            color="C3" if difference.is_clear else "C0",
        )
    axes.axvline(0, color="0.3", linewidth=0.8)
    labels = [f"{each.row.label} minus {each.reference.label}" for each in comparisons]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)


def _figure(size: tuple[float, float]) -> Figure:
    require("matplotlib", extra="study", purpose="drawing a study")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=80)
    return path

"""What ``flowkernels evaluate`` and ``flowkernels sample`` do with a run on a table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkernels.experiments.data.files import write_text
from flowkernels.experiments.training import ConfigError, Run, RunError, TableConfig

if TYPE_CHECKING:
    from torch import Tensor

    from flowkernels.experiments.evaluation import Coverage
    from flowkernels.experiments.evaluation.rows import LinearGaussian

__all__ = ["SAMPLES", "draw_calibration", "draw_rows", "evaluate_table", "print_table_scores"]

SAMPLES = 500
# Of more rows than these the coverage's error is below a percent.
_MOST_CALIBRATED = 2000
_MOST_VALUES = 1 << 27
_LABELS = {"highest_density": "highest density", "tarp": "TARP"}


def evaluate_table(
    run: Run,
    config: TableConfig,
    *,
    checkpoint: str = "best",
    limit: int | None = None,
    data_dir: str | None = None,
    samples: int = SAMPLES,
) -> tuple[dict[str, Any], dict[str, Coverage]]:
    """The scores of a run on a table, the content of ``metrics.json``; and its coverages.

    Raises:
        RunError: the table's columns are not those with which the run was trained.
        ConfigError: there are no test rows.
    """
    from rich.console import Console
    from rich.progress import Progress

    from flowkernels.experiments.evaluation import calibrate, coverage
    from flowkernels.experiments.evaluation.rows import (
        LinearGaussian,
        log_likelihoods,
        log_scale,
        mean_score,
        reference_points,
    )
    from flowkernels.experiments.training import on_device, table_module

    flow, origin = run.load_flow(checkpoint)
    flow = on_device(flow, config)
    table = table_module(config, data_dir=data_dir).dataset
    if origin.pop("columns", None) != list(table.columns):
        raise RunError(
            f"{run.path}: the columns of {config.file} are not those that the run was trained on"
        )
    x, context = table.split(table.test[:limit])
    if not len(x):
        raise ConfigError("test_fraction: expected test rows to evaluate, got none")
    shown = slice(0, _MOST_CALIBRATED)
    calibrated, own = x[shown], None if context is None else context[shown]
    train_x, train_context = table.split(table.train)
    linear = LinearGaussian(train_x, train_context)
    points = reference_points(linear, train_x, train_context, len(calibrated), own)
    unit = train_x.std(0)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=len(x) + len(calibrated))

        def on_batch(count: int) -> None:
            progress.advance(task, count)

        scores = log_likelihoods(flow, x, context, on_batch)
        ranks = calibrate(
            flow, calibrated, own, points, unit=unit, samples=samples, on_batch=on_batch
        )
    found = {
        "highest_density": coverage(ranks.density, samples),
        "tarp": coverage(ranks.distance, samples),
    }
    result: dict[str, Any] = {
        "run": str(run.path),
        **origin,
        "data": table.name,
        "modelled": list(table.modelled),
        "context": list(table.context),
        "test_rows": len(x),
        "log_likelihood": mean_score(scores),
        "log_likelihood_standardised": mean_score(scores + log_scale(flow)),
        "gaussian": _gaussian_score(linear, x, context),
        "calibration": {"rows": len(calibrated), "samples": samples}
        | {name: _coverage_entry(each) for name, each in found.items()},
    }
    return result, found


def draw_calibration(coverages: dict[str, Coverage], target: Path) -> Path:
    """Write the picture of the coverages of :func:`evaluate_table`."""
    from flowkernels.experiments.evaluation import save_calibration

    return save_calibration({_LABELS[name]: each for name, each in coverages.items()}, target)


def _gaussian_score(
    linear: LinearGaussian, x: Tensor, context: Tensor | None
) -> dict[str, float] | None:
    from flowkernels.experiments.evaluation.rows import mean_score

    try:
        return mean_score(linear.log_prob(x, context))
    except ValueError:  # columns that are linear functions of others have no such density
        return None


def _coverage_entry(found: Coverage) -> dict[str, Any]:
    from flowkernels.experiments.evaluation.calibration import LEVELS

    levels = {f"{level:g}": found.at(level) for level in LEVELS}
    return {
        "coverage": {
            level: {"share": share, "standard_error": error}
            for level, (share, error) in levels.items()
        },
        "largest_deviation": found.distance,
        "p_value": found.p_value,
    }


def print_table_scores(result: dict[str, Any]) -> None:
    """Print the result of :func:`evaluate_table`."""
    from rich.console import Console
    from rich.table import Table

    given = f" given {_listed(result['context'])}" if result["context"] else ""
    scores = Table(
        title=f"{result['data']}: log density of {_listed(result['modelled'])}{given}; "
        f"{result['test_rows']} test rows, step {result['step']}"
    )
    scores.add_column("")
    scores.add_column("nats a row", justify="right")
    scores.add_column("standard error", justify="right")
    for label, name in (
        ("this flow, in the table's units", "log_likelihood"),
        ("linear Gaussian, in the table's units", "gaussian"),
        ("this flow, of standardised columns", "log_likelihood_standardised"),
    ):
        if (score := result[name]) is not None:
            scores.add_row(label, f"{score['mean']:.4f}", f"{score['standard_error']:.4f}")
    calibration = result["calibration"]
    shares = Table(
        title=f"Share of {calibration['rows']} test rows in credible sets, "
        f"{calibration['samples']} samples for each"
    )
    shares.add_column("nominal")
    for label in _LABELS.values():
        shares.add_column(label, justify="right")
    shares.add_column("standard error", justify="right")
    levels = list(calibration["tarp"]["coverage"])
    for level in levels:
        entries = [calibration[name]["coverage"][level] for name in _LABELS]
        shares.add_row(
            level,
            *(f"{entry['share']:.3f}" for entry in entries),
            f"{entries[0]['standard_error']:.3f}",
        )
    p_values = [f"p = {calibration[name]['p_value']:.2g}" for name in _LABELS]
    shares.add_row("calibrated?", *p_values, "")
    console = Console()
    console.print(scores)
    console.print(shares)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} columns"


def draw_rows(
    run: Run,
    config: TableConfig,
    target: Path,
    *,
    count: int = 1000,
    context: Sequence[str] = (),
    seed: int = 0,
    checkpoint: str = "best",
) -> Path:
    """Write samples as a CSV with the table's columns; `count` of them for each context.

    Args:
        run: the run.
        config: its configuration.
        target: the CSV.
        count: samples for each context.
        context: contexts, each with a value for every column: ``"alcohol=12.5,hue=1"``.
        seed: of the samples.
        checkpoint: see :meth:`flowkernels.experiments.training.Run.checkpoint`.

    Raises:
        ConfigError: a context is missing or superfluous, or lacks a column.
    """
    import torch

    from flowkernels.experiments.data.columns import context_names
    from flowkernels.experiments.evaluation import fixed_noise

    names = context_names(config.context)
    contexts = [_context_values(text, names) for text in context]
    if names and not contexts:
        raise ConfigError(
            f"context: expected a value of {', '.join(names)}, such as --context "
            f"'{','.join(f'{name}=1' for name in names)}', got none"
        )
    flow, origin = run.load_flow(checkpoint)
    columns = origin.get("columns", [])
    if len(columns) != flow.event_shape.numel() + len(names):
        raise RunError(
            f"{origin['checkpoint']}: expected the names of "
            f"{flow.event_shape.numel() + len(names)} columns, found {len(columns)}"
        )
    if count * max(1, len(contexts)) * len(columns) > _MOST_VALUES:
        raise ConfigError(f"count: expected at most {_MOST_VALUES} values in all, got {count} rows")
    given = torch.tensor(contexts, dtype=flow.dtype)
    with fixed_noise(seed):
        drawn = flow.sample(count, given) if names else flow.sample((1, count))
    beside = given.unsqueeze(1).expand(-1, count, -1) if names else drawn[..., :0]
    modelled = [name for name in columns if name not in names]
    rows = torch.cat([drawn, beside], -1).flatten(0, 1)
    order = [[*modelled, *names].index(name) for name in columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if columns != [str(i + 1) for i in range(len(columns))]:  # the table has a header
        writer.writerow(columns)
    digits = 17 if flow.dtype == torch.float64 else 9
    writer.writerows([f"{v:.{digits}g}" for v in row] for row in rows[:, order].tolist())
    return write_text(target, text.getvalue())


def _context_values(text: str, names: Sequence[str]) -> list[float]:
    """The values of one context in the order of the names."""
    if not names:
        raise ConfigError(f"context: expected none, as the flow reads no context, got {text!r}")
    form = f"expected {','.join(f'{name}=VALUE' for name in names)}"
    values = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, _, value = part.rpartition("=")
        if name.strip() not in names or name.strip() in values:
            raise ConfigError(f"context: {form}, got {part!r}")
        number = _number(value)
        if number is None:
            raise ConfigError(
                f"context: {form}, got {value!r} for {name.strip()}, which is no number"
            )
        values[name.strip()] = number
    if missing := [name for name in names if name not in values]:
        raise ConfigError(f"context: {form}, got no value of {', '.join(missing)}")
    return [values[name] for name in names]


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

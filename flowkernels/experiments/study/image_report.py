"""The report of an image study: tables, pictures and the raw numbers."""

from __future__ import annotations

import dataclasses
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.data.files import write_json, write_text
from flowkernels.experiments.study.image_figures import draw
from flowkernels.experiments.study.image_metrics import (
    Metric,
    Row,
    Scores,
    base_metrics,
    path_metrics,
)
from flowkernels.experiments.study.image_plan import REAL, ImagePlan
from flowkernels.experiments.study.image_tables import markdown

__all__ = ["write_report"]


def write_report(plan: ImagePlan, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
    """Write ``study.md``, ``study.json`` and the pictures.

    Raises:
        DamagedFileError: a result was scored with other settings of the evaluation.
    """
    for name, result in results.items():
        # Lists in JSON, tuples in the plan.
        if result.get("evaluation") != _plain(plan.evaluation):
            file = folder / name / "result.json"
            raise DamagedFileError(
                f"{file}: expected scores with the evaluation {_plain(plan.evaluation)}, found "
                f"{result.get('evaluation')}; remove it to score the run again"
            )
    scores, facts = Scores(plan, results), _facts(plan, results)
    whole = {
        "title": plan.title,
        "facts": facts,
        "summary": _summary(scores),
        "differences": _differences(scores),
        "results": results,
    }
    return [
        write_text(folder / "study.md", markdown(scores, facts)),
        write_json(folder / "study.json", whole),
        *draw(scores, folder),
    ]


def _plain(evaluation: Any) -> dict[str, Any]:
    values = dataclasses.asdict(evaluation)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _summary(scores: Scores) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by row and metric."""
    names = scores.extractors
    return {
        "bases": {row.label: _spreads(scores, row, base_metrics(names)) for row in scores.bases},
        "paths": {row.label: _spreads(scores, row, path_metrics(names)) for row in scores.paths},
    }


def _spreads(scores: Scores, row: Row, metrics: Sequence[Metric]) -> dict[str, Any]:
    return {metric.title: _spread(scores.values(row, metric)) for metric in metrics}


def _spread(values: list[float]) -> dict[str, float | None]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread}


def _differences(scores: Scores) -> list[dict[str, Any]]:
    """The paired differences, by row, reference and metric."""
    return [
        {
            "row": each.row.label,
            "minus": each.reference.label,
            **{title: dataclasses.asdict(found) for title, found in each.differences.items()},
        }
        for each in [*scores.base_comparisons, *scores.path_comparisons]
    ]


def _facts(plan: ImagePlan, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from flowkernels.experiments.data import load_dataset
    from flowkernels.experiments.training import build_flow

    config = plan.run
    shape = load_dataset(config.data, config.data_dir).shape
    flow = build_flow(config, shape)
    return {
        "data": config.data,
        "flow": f"Glow, {config.levels} levels x {config.steps} steps, hidden {config.hidden}, "
        f"{sum(p.numel() for p in flow.parameters()):,} parameters",
        "training": f"{max(run.get('step', 0) for run in results.values())} steps at most of "
        f"{config.batch_size} images, AdamW at {config.learning_rate:g}, {config.schedule}, "
        f"{config.precision}; the {plan.evaluation.checkpoint} checkpoint by validation",
        "seeds": list(plan.seeds),
        **{f"features ({name})": label for name, label in results[REAL]["extractors"].items()},
        "samples": plan.evaluation.samples,
        "walks": f"{plan.evaluation.pairs} random pairs of test images, "
        f"{plan.evaluation.points - 2} inner points each",
        "machine": f"{_processor()}, {config.threads or torch.get_num_threads()} thread(s) a run",
        "torch": torch.__version__,
    }


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

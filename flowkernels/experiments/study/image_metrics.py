"""The numbers in the tables of an image study: where they are in a result, and how they look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowkernels.experiments.study.image_plan import (
    OWN,
    ImagePlan,
    Model,
    extractor_name,
    task_name,
)
from flowkernels.experiments.study.paired import Difference, paired_difference
from flowkernels.experiments.study.tables import mean_and_spread

__all__ = [
    "Comparison",
    "Metric",
    "Row",
    "Scores",
    "base_metrics",
    "path_label",
    "path_metrics",
]

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A number of a result.

    Attributes:
        title: in tables.
        digits: behind the point.
        of: takes it from the result of a run, or of a path.
        compared: whether the tables of differences have it.
    """

    title: str
    digits: int
    of: Callable[[Result], float]
    compared: bool = True

    def shown(self, value: float) -> str:
        """The number in a table."""
        return f"{value:.{self.digits}f}"


def base_metrics(extractors: tuple[str, ...]) -> list[Metric]:
    """Of a base: of its likelihood and its samples."""
    metrics = [
        Metric("test BPD", 4, lambda run: run["bpd"]),
        Metric("IW BPD", 4, lambda run: run["bound"]["bpd"]),
    ]
    for name in extractors:
        metrics += _quality(name, lambda run: run["samples"])
    return metrics


def path_metrics(extractors: tuple[str, ...]) -> list[Metric]:
    """Of a path between test images."""
    metrics = [
        Metric("path BPD", 3, lambda path: path["bpd"]),
        Metric("middle - ends", 3, lambda path: _dip(path["profile"])),
    ]
    for name in extractors:
        metrics += _quality(name, lambda path: path)
    return [
        *metrics,
        Metric("length", 2, lambda path: path["length"], compared=False),
        Metric("roughness", 2, lambda path: path["roughness"], compared=False),
        Metric("nearest", 3, lambda path: path["nearest"], compared=False),
    ]


def _quality(name: str, of: Callable[[Result], Result]) -> list[Metric]:
    return [
        Metric(f"FID ({name})", 2, lambda result: of(result)[name]["fid"]),
        Metric(f"precision ({name})", 3, lambda result: of(result)[name]["precision"]),
        Metric(f"recall ({name})", 3, lambda result: of(result)[name]["recall"]),
    ]


def _dip(profile: list[float]) -> float:
    return profile[len(profile) // 2] - (profile[0] + profile[-1]) / 2


@dataclass(frozen=True)
class Row:
    """A base, and one of its paths or None."""

    model: Model
    path: str | None = None

    @property
    def label(self) -> str:
        """The names in tables and pictures."""
        if self.path is None:
            return self.model.name
        return f"{self.model.name}, {path_label(self.model, self.path)}"


@dataclass(frozen=True)
class Comparison:
    """Two rows and the differences of their numbers, paired by seed.

    Attributes:
        row: whose numbers are compared.
        reference: whose numbers are subtracted.
        differences: by the title of the metric.
    """

    row: Row
    reference: Row
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class Scores:
    """The results of a study, by row and metric.

    Attributes:
        plan: of the study.
        results: of its tasks, by name.
    """

    plan: ImagePlan
    results: Mapping[str, Result]

    @property
    def bases(self) -> list[Row]:
        """A row for each base."""
        return [Row(model) for model in self.plan.models]

    @property
    def paths(self) -> list[Row]:
        """A row for each path of each base."""
        return [Row(model, path) for model in self.plan.models for path in model.paths]

    def values(self, row: Row, metric: Metric) -> list[float]:
        """The number for each seed."""
        return [float(metric.of(result)) for result in self.of_row(row)]

    def of_row(self, row: Row) -> list[Result]:
        """The results of a row for each seed."""
        runs = [self.results[task_name(row.model, seed)] for seed in self.plan.seeds]
        return runs if row.path is None else [run["paths"][row.path] for run in runs]

    def cell(self, row: Row, metric: Metric) -> str:
        """Mean and standard deviation over the seeds."""
        return mean_and_spread(self.values(row, metric), metric.digits)

    @property
    def extractors(self) -> tuple[str, ...]:
        """The names of the extractors in results."""
        return tuple(extractor_name(chosen) for chosen in self.plan.evaluation.extractors)

    @cached_property
    def base_comparisons(self) -> list[Comparison]:
        """Each base with the first one."""
        first, *others = self.bases
        return self._compared([(row, first) for row in others], base_metrics(self.extractors))

    @cached_property
    def path_comparisons(self) -> list[Comparison]:
        """Each path with those of the first base; among these, each pair once."""
        references = [row for row in self.paths if row.model == self.plan.models[0]]
        pairs = []
        for row in self.paths:
            earlier = references.index(row) if row in references else len(references)
            pairs += [(row, reference) for reference in references[:earlier]]
        return self._compared(pairs, path_metrics(self.extractors))

    def _compared(
        self, pairs: Sequence[tuple[Row, Row]], metrics: Sequence[Metric]
    ) -> list[Comparison]:
        def difference(row: Row, reference: Row, metric: Metric) -> Difference:
            return paired_difference(self.values(row, metric), self.values(reference, metric))

        return [
            Comparison(a, b, {m.title: difference(a, b, m) for m in metrics if m.compared})
            for a, b in pairs
        ]


def path_label(model: Model, path: str) -> str:
    """A path's name in tables; the default path of a base under its real name."""
    if path != OWN:
        return path
    from flowkernels.bases import make_base

    return make_base(model.settings.get("base", "vmf"), 4).default_path

"""The tables of an image study, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowkernels.experiments.study.image_metrics import (
    Metric,
    Row,
    Scores,
    base_metrics,
    path_label,
    path_metrics,
)
from flowkernels.experiments.study.image_plan import REAL, ImagePlan
from flowkernels.experiments.study.paired import Difference
from flowkernels.experiments.study.tables import markdown_table

__all__ = ["markdown"]

_LEGEND = """\
- test BPD: bits per dimension of the 8-bit test images with one draw of the dequantisation noise,
  an upper bound; IW BPD: the tighter importance-weighted bound with {draws} draws.
- path BPD: test BPD of the decoded inner points between two test images under the same flow;
  middle - ends: its mean at the middle of the walks minus that at their ends. A path BPD below
  the test BPD means that the points are smoother than images, not better.
- FID, precision, recall: of samples, and of the inner points, against the test images, in the
  features of the networks named below. Numbers of other networks cannot be compared with these.
- length: sum of the steps' lengths over the distance of the ends, in pixels; 1 is a straight blend.
  roughness: longest step over mean step; 1 is an even walk.
- nearest: root-mean-square distance per pixel (levels / 255) of the walk's middle to the nearest
  training image; compare with real test images. A much lower value means copying or blur."""

_DIFFERENCES = """\
Mean ± standard error of the difference of the same number between two runs with the same seed.
Bold: the 95 % confidence interval (Student's t, {count} pairs) excludes zero. Among this many
numbers some do so by chance: one in twenty if there were no effects at all."""


def markdown(scores: Scores, facts: Mapping[str, Any]) -> str:
    """The report of a study."""
    plan = scores.plan
    names = scores.extractors
    count = len(plan.seeds)
    seeds = f"{count} seeds" if count > 1 else "one seed"
    parts = [
        f"# {plan.title}",
        f"Mean ± standard deviation over {seeds}.",
        "## Bases",
        _table(scores, scores.bases, base_metrics(names), ["base"], _real(scores, names)),
        "## Paths",
        _table(scores, scores.paths, path_metrics(names), ["base", "path"], _blend(scores, names)),
        _LEGEND.format(draws=plan.evaluation.draws),
    ]
    if count > 1:
        parts += ["## Differences", _DIFFERENCES.format(count=count), *_differences(scores)]
    parts += ["## Settings", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    if any(model.paper for model in plan.models):
        parts += ["## In the paper", _paper(plan)]
    return "\n\n".join(parts)


def _table(
    scores: Scores,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    head: list[str],
    last: Sequence[list[str]],
) -> str:
    body = []
    for row in rows:
        first = [row.model.name]
        if row.path is not None:
            first.append(path_label(row.model, row.path))
        body.append([*first, *(scores.cell(row, metric) for metric in metrics)])
    return markdown_table([*head, *(metric.title for metric in metrics)], [*body, *last])


def _real(scores: Scores, names: Sequence[str]) -> list[list[str]]:
    """The row of training images among the bases."""
    samples = scores.results[REAL]["samples"]
    return [["training images", "", "", *_of_quality(samples, names)]]


def _blend(scores: Scores, names: Sequence[str]) -> list[list[str]]:
    """The rows without a flow among the paths."""
    real = scores.results[REAL]
    blend = [*_of_quality(real["blend"], names), "1.00", "1.00", f"{real['blend']['nearest']:.3f}"]
    blank = [""] * (3 * len(names) + 2)
    return [
        ["no flow", "blend of pixels", "", "", *blend],
        ["test images", "", "", "", *blank, f"{real['nearest']:.3f}"],
    ]


def _of_quality(quality: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        of = quality[name]
        cells += [f"{of['fid']:.2f}", f"{of['precision']:.3f}", f"{of['recall']:.3f}"]
    return cells


def _differences(scores: Scores) -> list[str]:
    """A table of bases and one of paths."""
    names = scores.extractors
    tables = []
    for comparisons, metrics in (
        (scores.base_comparisons, base_metrics(names)),
        (scores.path_comparisons, path_metrics(names)),
    ):
        chosen = [metric for metric in metrics if metric.compared]
        rows = [
            [each.row.label, each.reference.label]
            + [_cell(each.differences[metric.title], metric) for metric in chosen]
            for each in comparisons
        ]
        if rows:
            head = ["", "minus", *(metric.title for metric in chosen)]
            tables.append(markdown_table(head, rows))
    return tables


def _cell(difference: Difference, metric: Metric) -> str:
    assert difference.standard_error is not None
    shown = f"{difference.mean:+.{metric.digits}f} ± {metric.shown(difference.standard_error)}"
    return f"**{shown}**" if difference.is_clear else shown


def _paper(plan: ImagePlan) -> str:
    rows = []
    for model in plan.models:
        paths = model.paper.get("paths", {})
        for path in model.paths if model.paper else ():
            there = paths.get(path, {})
            rows.append(
                [
                    model.name,
                    str(model.paper.get("bpd", "")),
                    str(model.paper.get("fid", "")),
                    path_label(model, path),
                    str(there.get("bpd", "")),
                    str(there.get("fid", "")),
                ]
            )
    head = ["base", "test BPD", "sample FID", "path", "path BPD", "path FID"]
    return markdown_table(head, [row for row in rows if row[4] or row[5]])

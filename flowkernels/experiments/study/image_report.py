"""The tables and pictures of an image study."""

from __future__ import annotations

import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flowkernels.experiments.data.extras import require
from flowkernels.experiments.data.files import atomic_write, write_json, write_text
from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.evaluation.pictures import save_grid
from flowkernels.experiments.study.image_plan import OWN, REAL, ImagePlan, Model, task_name
from flowkernels.experiments.study.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]

_COLUMNS = {
    "bpd": ("path BPD", 2),
    "fid": ("path FID", 2),
    "kid": ("path KID x1000", 1),
    "length": ("length", 2),
    "roughness": ("roughness", 2),
    "nearest": ("nearest", 3),
}
_LEGEND = """\
- BPD: bits per dimension of 8-bit images with uniform dequantisation noise, one draw per
  image; path BPD is that of the decoded points between two images under the same flow. A
  path BPD below the test BPD means that the points are smoother than images, not better.
- FID, KID: of samples, and of the inner points, against the test images, in the features of the
  extractor named below. Numbers of other extractors cannot be compared with these.
- length: sum of the steps' lengths over the distance of the ends, in pixels; 1 is a straight blend.
  roughness: longest step over mean step; 1 is an even walk.
- nearest: root-mean-square distance per pixel (levels / 255) of the walk's middle to the nearest
  training image; compare with real test images. A much lower value means copying or blur."""


def write_report(plan: ImagePlan, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
    """Write ``study.md``, ``study.json``, ``samples.png``, ``norms.png`` and ``walks0.png``, ...

    There is a picture of walks for each of the pairs that the plan shows.
    """
    summary = {model.name: _summary(plan, model, results) for model in plan.models}
    facts = _facts(plan, results)
    whole = {"title": plan.title, "facts": facts, "summary": summary, "results": results}
    return [
        write_text(folder / "study.md", _markdown(plan, summary, results[REAL], facts)),
        write_json(folder / "study.json", whole),
        *_pictures(plan, folder),
    ]


def _summary(plan: ImagePlan, model: Model, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by column."""
    runs = [results[task_name(model, seed)] for seed in plan.seeds]
    return {
        "bpd": _spread([run["bpd"] for run in runs]),
        "fid": _spread([run["samples"]["fid"] for run in runs]),
        "kid": _spread([run["samples"]["kid"] for run in runs]),
        "paths": {
            path: {name: _spread([run["paths"][path][name] for run in runs]) for name in _COLUMNS}
            for path in model.paths
        },
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread}


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
        f"{config.batch_size} images, AdamW at {config.learning_rate:g}, {config.schedule}; "
        f"the {plan.evaluation.checkpoint} checkpoint by validation",
        "seeds": list(plan.seeds),
        "extractor": results[REAL]["extractor"],
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


def _cell(value: dict[str, float | None], digits: int, factor: float = 1) -> str:
    mean, spread = value["mean"], value["sd"]
    assert mean is not None
    shown = f"{factor * mean:.{digits}f}"
    return shown if spread is None else f"{shown} ± {factor * spread:.{digits}f}"


def _markdown(
    plan: ImagePlan, summary: dict[str, Any], real: dict[str, Any], facts: dict[str, Any]
) -> str:
    head = ["base", "test BPD", "sample FID", "sample KID x1000", "path"]
    head += [title for title, _ in _COLUMNS.values()]
    rows = []
    for model in plan.models:
        ours = summary[model.name]
        first = [
            model.name,
            _cell(ours["bpd"], 3),
            _cell(ours["fid"], 2),
            _cell(ours["kid"], 1, 1000),
        ]
        for path in model.paths:
            cells = [
                _cell(ours["paths"][path][name], digits, 1000 if name == "kid" else 1)
                for name, (_, digits) in _COLUMNS.items()
            ]
            rows.append([*first, path_label(model, path), *cells])
            first = [""] * 4
    rows += _real_rows(real)
    seeds = f"{len(plan.seeds)} seeds" if len(plan.seeds) > 1 else "one seed"
    parts = [
        f"# {plan.title}",
        f"Mean ± standard deviation over {seeds}.",
        markdown_table(head, rows),
        _LEGEND,
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
    ]
    if any(model.paper for model in plan.models):
        parts += ["## In the paper", _paper(plan)]
    return "\n\n".join(parts)


def _real_rows(real: dict[str, Any]) -> list[list[str]]:
    """The rows without a flow: straight blends of pixels, and training images."""

    def quality(of: dict[str, Any]) -> list[str]:
        return [f"{of['fid']:.2f}", f"{1000 * of['kid']:.1f}"]

    blend = ["no flow", "", "", "", "blend of pixels", "", *quality(real["blend"])]
    images = ["real images", "", *quality(real["samples"]), *[""] * 6]
    return [
        [*blend, "1.00", "1.00", f"{real['blend']['nearest']:.3f}"],
        [*images, f"{real['nearest']:.3f}"],
    ]


def path_label(model: Model, path: str) -> str:
    """A path's name in tables; the default path of a base under its real name."""
    if path != OWN:
        return path
    from flowkernels.bases import make_base

    base = make_base(model.settings.get("base", "vmf"), 4)
    return base.default_path


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


def _pictures(plan: ImagePlan, folder: Path) -> list[Path]:
    seed = plan.seeds[0]
    kept = {
        model.folder: load_tensors(folder / task_name(model, seed) / "pictures.pt")
        for model in plan.models
    }
    walks = [
        (f"{model.name}, {path_label(model, path)}", kept[model.folder][f"{path}.walks"])
        for model in plan.models
        for path in model.paths
    ]
    files = []
    for pair in range(plan.evaluation.shown):
        files.append(
            _labelled([(name, images[pair]) for name, images in walks], folder / f"walks{pair}.png")
        )
    rows = torch.stack([images["samples"] for images in kept.values()])
    files.append(save_grid(rows, folder / "samples.png"))
    files.append(_norms(plan, kept, folder / "norms.png"))
    return files


def _labelled(rows: list[tuple[str, torch.Tensor]], path: Path) -> Path:
    """A picture with a row of images (T, C, H, W) for every name."""
    figure = _figure((1.1 * len(rows[0][1]) + 3, 1.1 * len(rows)))
    columns = len(rows[0][1])
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, images) in enumerate(rows):
        for column, image in enumerate(images):
            panel = axes[row, column]
            panel.set_axis_off()
            shown = image.permute(1, 2, 0)
            panel.imshow(shown.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
            if row == 0:
                panel.set_title(f"t = {column / (columns - 1):.1f}", fontsize=9)
        axes[row, 0].text(
            -0.15, 0.5, name, transform=axes[row, 0].transAxes, ha="right", va="center"
        )
    return _save(figure, path)


def _norms(plan: ImagePlan, kept: dict[str, dict[str, torch.Tensor]], path: Path) -> Path:
    """Lengths of the latents at the ends and in the middle, one panel per path."""
    panels = [(model, name) for model in plan.models for name in model.paths]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure((4.5 * columns, 2.6 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, (model, name) in zip(axes, panels, strict=False):
        for part, label in (("end_norm", "ends"), ("middle_norm", "middle")):
            values = kept[model.folder][f"{name}.{part}"]
            low, high = values.quantile(0.005), values.quantile(0.995)
            inside = values[(values >= low) & (values <= high)]
            panel.hist(inside.numpy(), bins=40, density=True, alpha=0.6, label=label)
        panel.set_title(f"{model.name}, {path_label(model, name)}", fontsize=10)
        panel.set_xlabel("|z|")
        panel.set_yticks([])
        panel.legend(fontsize=8)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    return _save(figure, path)


def _figure(size: tuple[float, float]) -> Figure:
    require("matplotlib", extra="study", purpose="drawing a study")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=80)
    return path

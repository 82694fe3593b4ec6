"""Flows on images: bases beside each other, paths beside each other, over several seeds.

What Fadel et al. 2021 compare: test likelihood, quality of samples, and quality of the walks
between test images, for a Gaussian, von Mises-Fisher and Dirichlet base, with the other bases and
paths of this package beside them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkernels.data.files import atomic_write
from flowkernels.interpolation import path_names
from flowkernels.study.settings import check_names, check_numbers, from_plain
from flowkernels.study.study import Study
from flowkernels.study.task import Task
from flowkernels.training.config import ConfigError, RunConfig

if TYPE_CHECKING:
    import torch

    from flowkernels.data import ImageDataset
    from flowkernels.evaluation import Extractor, ImageQuality, NearestImages
    from flowkernels.flows import Flow

__all__ = ["Evaluation", "ImageStudy", "Model"]

OWN = "own"
REAL = "real-images"


@dataclass(frozen=True)
class Model:
    """A row of the study.

    Attributes:
        name: in tables.
        settings: what differs from the common settings of :class:`RunConfig`.
        paths: names of :mod:`flowkernels.interpolation`, or ``own`` for the base's.
        paper: numbers of the paper to print beside ours: ``bpd``, ``fid``, and by path
            ``path_bpd`` and ``path_fid``.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = (OWN,)
    paper: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Evaluation:
    """How much is looked at.

    Attributes:
        extractor: ``classifier``, trained on the data set, or a file of Inception's weights.
        samples: images drawn from each flow for FID and KID.
        pairs: of test images that are walked between.
        points: of a walk, with its ends; the ones between are scored.
        shown: pairs in the picture.
        checkpoint: ``best`` or ``last``.
    """

    extractor: str = "classifier"
    samples: int = 10_000
    pairs: int = 1000
    points: int = 7
    shown: int = 4
    checkpoint: str = "best"

    def __post_init__(self) -> None:
        check_numbers(self, whole={"samples": 2, "pairs": 2, "points": 3, "shown": 1}, seeds="")
        check_names("checkpoint", (self.checkpoint,), ("best", "last"))


@dataclass(frozen=True)
class ImageStudy(Study):
    """Every model with every seed: trained, scored, drawn.

    Attributes:
        run: settings that all models share.
        models: the rows.
        seeds: of each.
        evaluation: how much is looked at.
        title: of the table.
    """

    run: RunConfig
    models: tuple[Model, ...]
    seeds: tuple[int, ...] = (0,)
    evaluation: Evaluation = Evaluation()
    title: str = "Bases and paths"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> ImageStudy:
        """See :class:`Study`; the settings are the attributes, models as a list of mappings."""
        parts: dict[str, Any] = dict(values)
        parts["run"] = RunConfig.from_dict(parts.get("run", {}), source=f"{source}: run")
        parts["models"] = tuple(
            _model(entry, parts["run"], source) for entry in parts.get("models", ())
        )
        parts["evaluation"] = from_plain(
            Evaluation, parts.get("evaluation", {}), f"{source}: evaluation"
        )
        return from_plain(cls, parts, source)

    def __post_init__(self) -> None:
        check_numbers(self, whole={})
        if not self.models:
            raise ConfigError("models: expected at least one, got none")
        if len({model.folder for model in self.models}) < len(self.models):
            raise ConfigError("models: expected names that differ, got two alike")

    def config(self, model: Model, seed: int) -> RunConfig:
        """The settings of one run."""
        return dataclasses.replace(self.run, **model.settings, seed=seed)

    def tasks(self) -> list[Task]:
        """See :class:`Study`: the real images first, then seed by seed."""
        tasks = [Task(REAL, self._real)]
        for seed in self.seeds:
            for model in self.models:
                tasks.append(Task(task_name(model, seed), partial(self._one, model, seed)))
        return tasks

    def report(self, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
        """See :class:`Study`."""
        from flowkernels.study.images_report import write_report

        return write_report(self, folder, results)

    def _one(self, model: Model, seed: int, folder: Path) -> dict[str, Any]:
        from flowkernels.training import Run, cpu_threads, fit

        config = self.config(model, seed)
        fit(config, folder, resume=True)
        run = Run(folder)
        flow, origin = run.load_flow(self.evaluation.checkpoint)
        flow = _on_device(flow, config)
        with cpu_threads(run.config().threads):
            result = _Judge.of(self, folder.parent).judge(flow, model, folder)
        return result | {"step": origin["step"], "seed": seed}

    def _real(self, folder: Path) -> dict[str, Any]:
        from flowkernels.training import cpu_threads

        with cpu_threads(self.run.threads):
            return _Judge.of(self, folder.parent).real()


def task_name(model: Model, seed: int) -> str:
    """The folder of a run."""
    return f"{model.folder}-seed{seed}"


def _model(entry: Any, run: RunConfig, source: str) -> Model:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ConfigError(f"{source}: models: expected mappings with a name, got {entry!r}")
    settings = {k: v for k, v in entry.items() if k not in ("name", "paths", "paper")}
    where = f"{source}: models: {entry['name']}"
    RunConfig.from_dict({**run.to_dict(), **settings}, source=where)
    paths = tuple(entry.get("paths", (OWN,)))
    try:
        check_names("paths", paths, [OWN, *path_names()])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Model(entry["name"], settings, paths, entry.get("paper", {}))


def _on_device(flow: Flow, config: RunConfig) -> Flow:
    import torch

    gpu = torch.cuda.is_available() and config.accelerator != "cpu"
    return flow.cuda() if gpu else flow


@dataclass
class _Judge:
    """What all flows of a study are measured with."""

    evaluation: Evaluation
    data: ImageDataset
    extractor: Extractor
    quality: ImageQuality
    nearest: NearestImages

    @classmethod
    def of(cls, study: ImageStudy, folder: Path) -> _Judge:
        """Loads the data and the extractor, which is trained where it is missing."""
        from flowkernels.data import load_dataset
        from flowkernels.evaluation import (
            ImageQuality,
            NearestImages,
            inception,
            trained_classifier,
        )

        data = load_dataset(study.run.data, study.run.data_dir)
        chosen = study.evaluation.extractor
        if chosen == "classifier":
            extractor: Extractor = trained_classifier(data, folder / "classifier.pt")
        else:
            extractor = inception(Path(chosen))
        return cls(
            study.evaluation,
            data,
            extractor,
            ImageQuality(extractor, data.test),
            NearestImages(data.train),
        )

    @property
    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The pairs of test images, the same for every flow."""
        from flowkernels.evaluation import pairs_of

        return pairs_of(self.data.test, self.evaluation.pairs)

    def judge(self, flow: Flow, model: Model, folder: Path) -> dict[str, Any]:
        """Scores of a flow; its pictures' material goes to ``folder``."""
        import torch

        from flowkernels.data import TensorBatches
        from flowkernels.evaluation import score

        device = flow.device
        result: dict[str, Any] = {"extractor": self.extractor.label}
        with _bar("likelihood of test images", len(self.data.test)) as advance:
            batches = TensorBatches(self.data.test, 250)
            result |= score(flow.bits_per_dim, batches, device=device, on_batch=advance)
        samples = self._samples(flow)
        self.quality.update(samples)
        result["samples"] = self.quality.compute()
        kept = {"samples": samples[:16]}
        result["paths"] = {}
        for path in model.paths:
            result["paths"][path], material = self._walks(flow, path)
            kept |= {f"{path}.{name}": value for name, value in material.items()}
        with atomic_write(folder / "pictures.pt") as file:
            torch.save(kept, file)
        return result

    def _walks(self, flow: Flow, path: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Scores of one path, and what its pictures need."""
        import torch

        from flowkernels.evaluation import score_walks, walk_images

        a, b = self.ends
        shown = self.evaluation.shown
        name = None if path == OWN else path
        with _bar(f"walks: {path}", len(a) * (self.evaluation.points - 2)) as advance:
            scores = score_walks(
                flow,
                (a, b),
                path=name,
                points=self.evaluation.points,
                quality=self.quality,
                nearest=self.nearest,
                on_batch=advance,
            )
        norms = {key: torch.tensor(scores.pop(key)) for key in ("end_norm", "middle_norm")}
        walks, _ = walk_images(flow, a[:shown], b[:shown], 11, name)
        return scores, {**norms, "walks": walks.to(torch.uint8).cpu()}

    def real(self) -> dict[str, Any]:
        """The same scores for training images, and for straight blends of pixels."""
        count = min(self.evaluation.samples, len(self.data.train))
        self.quality.update(self.data.train[:count])
        result: dict[str, Any] = {
            "extractor": self.extractor.label,
            "samples": self.quality.compute(),
            "nearest": float(self.nearest(self.ends[0]).mean()),
        }
        a, b = (end.float() for end in self.ends)
        points = self.evaluation.points
        for i in range(1, points - 1):
            t = i / (points - 1)
            self.quality.update(((1 - t) * a + t * b).round())
        middle = (points // 2) / (points - 1)
        blend = ((1 - middle) * a + middle * b).round()
        result["blend"] = {**self.quality.compute(), "nearest": float(self.nearest(blend).mean())}
        return result

    def _samples(self, flow: Flow) -> torch.Tensor:
        import torch

        from flowkernels.evaluation import fixed_noise

        count, parts = self.evaluation.samples, []
        noise = fixed_noise(0, flow.device)
        with noise, _bar("samples", count) as advance:
            for first in range(0, count, 250):
                parts.append(flow.sample(min(250, count - first)).to(torch.uint8).cpu())
                advance(len(parts[-1]))
        return torch.cat(parts)


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that is gone when the work is; it is told how much was done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)

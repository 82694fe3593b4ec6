"""Scores the flows of an image study."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.data import ImageDataset, TensorBatches, load_dataset
from flowkernels.experiments.data.files import open_lock
from flowkernels.experiments.data.tensor_file import save_tensors
from flowkernels.experiments.evaluation import (
    Extractor,
    ImageQualities,
    ImageQuality,
    NearestImages,
    fixed_noise,
    importance_weighted,
    inception,
    pairs_of,
    score,
    score_walks,
    trained_extractor,
    walk_images,
)
from flowkernels.experiments.evaluation.extractor import TASKS
from flowkernels.experiments.study.image_plan import (
    OWN,
    Evaluation,
    ImagePlan,
    Model,
    extractor_name,
)
from flowkernels.flows import Flow

__all__ = ["Judge"]

# Of the walks in pictures.
_SHOWN_POINTS = 9


@dataclass
class Judge:
    """The data, extractors and settings that score all flows of a study."""

    evaluation: Evaluation
    data: ImageDataset
    quality: ImageQualities
    nearest: NearestImages

    @classmethod
    def of(cls, plan: ImagePlan, folder: Path) -> Judge:
        """Load the data and the extractors; train those that are missing."""
        data = load_dataset(plan.run.data, plan.run.data_dir)
        qualities = {
            extractor_name(chosen): ImageQuality(
                _trained(data, folder, chosen) if chosen in TASKS else inception(Path(chosen)),
                data.test,
            )
            for chosen in plan.evaluation.extractors
        }
        return cls(plan.evaluation, data, ImageQualities(qualities), NearestImages(data.train))

    @property
    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The pairs of test images, the same for every flow."""
        return pairs_of(self.data.test, self.evaluation.pairs)

    def judge(self, flow: Flow, model: Model, folder: Path) -> dict[str, Any]:
        """The scores of a flow; writes the data of its pictures to ``folder``."""
        device = flow.device
        result = self._facts()
        test, draws = self.data.test, self.evaluation.draws
        with _progress_bar("likelihood of test images", 2 * len(test)) as advance:
            result |= score(
                flow.bits_per_dim, TensorBatches(test, 250), device=device, on_batch=advance
            )
            bound = importance_weighted(flow.bits_per_dim, draws)
            result["bound"] = score(
                bound, TensorBatches(test, 250), device=device, on_batch=advance
            )
        samples = self._samples(flow)
        self.quality.update(samples)
        result["samples"] = self.quality.compute()
        kept = {"samples": samples[:16]}
        result["paths"] = {}
        for path in model.paths:
            result["paths"][path], material = self._walks(flow, path)
            kept |= {f"{path}.{name}": value for name, value in material.items()}
        save_tensors(folder / "pictures.pt", kept)
        return result

    def _walks(self, flow: Flow, path: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The scores of one path and the data of its pictures."""
        a, b = self.ends
        shown = self.evaluation.shown
        name = None if path == OWN else path
        with _progress_bar(f"walks: {path}", len(a) * self.evaluation.points) as advance:
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
        walks, _ = walk_images(flow, a[:shown], b[:shown], _SHOWN_POINTS, name)
        return scores, {**norms, "walks": walks.to(torch.uint8).cpu()}

    def real(self) -> dict[str, Any]:
        """The same scores for training images, and for straight blends of pixels."""
        count = min(self.evaluation.samples, len(self.data.train))
        self.quality.update(self.data.train[:count])
        result: dict[str, Any] = {
            **self._facts(),
            "samples": self.quality.compute(),
            "nearest": float(self.nearest(self.ends[0]).mean()),
        }
        a, b = (end.float() for end in self.ends)
        points = self.evaluation.points
        for i in range(1, points - 1):
            t = i / (points - 1)
            blend = ((1 - t) * a + t * b).round()
            self.quality.update(blend)
            if i == points // 2:
                nearest = float(self.nearest(blend).mean())
        result["blend"] = {**self.quality.compute(), "nearest": nearest}
        return result

    def _facts(self) -> dict[str, Any]:
        """How the scores were made: results of other settings cannot be compared."""
        labels = {name: each.extractor.label for name, each in self.quality.qualities.items()}
        return {"extractors": labels, "evaluation": dataclasses.asdict(self.evaluation)}

    def _samples(self, flow: Flow) -> torch.Tensor:
        count, parts = self.evaluation.samples, []
        noise = fixed_noise(0, flow.device)
        with noise, _progress_bar("samples", count) as advance:
            for first in range(0, count, 250):
                parts.append(flow.sample(min(250, count - first)).to(torch.uint8).cpu())
                advance(len(parts[-1]))
        return torch.cat(parts)


def _trained(data: ImageDataset, folder: Path, task: str) -> Extractor:
    """The network for a task; one of several processes trains it, the others wait for its file."""
    with os.fdopen(open_lock(folder / f".extractor-{task}.lock"), "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return trained_extractor(data, folder / f"extractor-{task}.pt", task=task)


@contextlib.contextmanager
def _progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A transient progress bar; yields a function that advances it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)

"""Scores the flows of an image study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.data import ImageDataset, TensorBatches, load_dataset
from flowkernels.experiments.data.tensor_file import save_tensors
from flowkernels.experiments.evaluation import (
    Extractor,
    ImageQuality,
    NearestImages,
    fixed_noise,
    inception,
    pairs_of,
    score,
    score_walks,
    trained_classifier,
    walk_images,
)
from flowkernels.experiments.study.image_plan import OWN, Evaluation, ImagePlan, Model
from flowkernels.flows import Flow

__all__ = ["Judge"]


@dataclass
class Judge:
    """The data, extractor and settings that score all flows of a study."""

    evaluation: Evaluation
    data: ImageDataset
    extractor: Extractor
    quality: ImageQuality
    nearest: NearestImages

    @classmethod
    def of(cls, plan: ImagePlan, folder: Path) -> Judge:
        """Load the data and the extractor; train the extractor if it is missing."""
        from flowkernels.experiments.evaluation import (
            ImageQuality,
            NearestImages,
        )

        data = load_dataset(plan.run.data, plan.run.data_dir)
        chosen = plan.evaluation.extractor
        if chosen == "classifier":
            extractor: Extractor = trained_classifier(data, folder / "classifier.pt")
        else:
            extractor = inception(Path(chosen))
        return cls(
            plan.evaluation,
            data,
            extractor,
            ImageQuality(extractor, data.test),
            NearestImages(data.train),
        )

    @property
    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The pairs of test images, the same for every flow."""
        return pairs_of(self.data.test, self.evaluation.pairs)

    def judge(self, flow: Flow, model: Model, folder: Path) -> dict[str, Any]:
        """The scores of a flow; writes the data of its pictures to ``folder``."""
        device = flow.device
        result: dict[str, Any] = {"extractor": self.extractor.label}
        with _progress_bar("likelihood of test images", len(self.data.test)) as advance:
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
        save_tensors(folder / "pictures.pt", kept)
        return result

    def _walks(self, flow: Flow, path: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The scores of one path and the data of its pictures."""
        a, b = self.ends
        shown = self.evaluation.shown
        name = None if path == OWN else path
        with _progress_bar(f"walks: {path}", len(a) * (self.evaluation.points - 2)) as advance:
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
            blend = ((1 - t) * a + t * b).round()
            self.quality.update(blend)
            if i == points // 2:
                nearest = float(self.nearest(blend).mean())
        result["blend"] = {**self.quality.compute(), "nearest": nearest}
        return result

    def _samples(self, flow: Flow) -> torch.Tensor:
        count, parts = self.evaluation.samples, []
        noise = fixed_noise(0, flow.device)
        with noise, _progress_bar("samples", count) as advance:
            for first in range(0, count, 250):
                parts.append(flow.sample(min(250, count - first)).to(torch.uint8).cpu())
                advance(len(parts[-1]))
        return torch.cat(parts)


@contextlib.contextmanager
def _progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A transient progress bar; yields a function that advances it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)

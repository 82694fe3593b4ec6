"""Compares bases and paths of flows on images over several seeds.

The comparison of Fadel et al. 2021 (test likelihood, quality of samples, and quality of the walks
between test images, for a Gaussian, von Mises-Fisher and Dirichlet base), extended to the other
bases and paths of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkernels.experiments.study.image_plan import REAL, ImagePlan, Model, task_name
from flowkernels.experiments.study.study import Study
from flowkernels.experiments.study.task import Task
from flowkernels.experiments.training.errors import TimeLimitError
from flowkernels.experiments.training.time_limit import TimeLimit

if TYPE_CHECKING:
    from flowkernels.experiments.study.judge import Judge

__all__ = ["ImageStudy"]


@dataclass(frozen=True)
class ImageStudy(Study):
    """Trains and scores every model with every seed and draws pictures."""

    plan: ImagePlan
    limit: TimeLimit = field(default_factory=TimeLimit, repr=False, compare=False)
    _judges: dict[Path, Judge] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> ImageStudy:
        """See :class:`Study`; the settings are those of :class:`ImagePlan`."""
        return cls(ImagePlan.from_dict(values, source=source))

    def with_limit(self, limit: TimeLimit) -> ImageStudy:
        """See :class:`Study`."""
        return replace(self, limit=limit)

    def with_data_dir(self, folder: str) -> ImageStudy:
        """See :class:`Study`."""
        run = replace(self.plan.run, data_dir=folder)
        return replace(self, plan=replace(self.plan, run=run))

    def tasks(self) -> list[Task]:
        """See :class:`Study`: the real images first, then seed by seed."""
        tasks = [Task(REAL, self._real)]
        for seed in self.plan.seeds:
            for model in self.plan.models:
                tasks.append(Task(task_name(model, seed), partial(self._execute, model, seed)))
        return tasks

    def report(self, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
        """See :class:`Study`."""
        from flowkernels.experiments.study.image_report import write_report

        return write_report(self.plan, folder, results)

    def _execute(self, model: Model, seed: int, folder: Path) -> dict[str, Any]:
        from flowkernels.experiments.training import Run, cpu_threads, fit, on_device

        config = self.plan.config(model, seed)
        module = fit(config, folder, resume=True, limit=self.limit)
        if self.limit.is_over():
            raise TimeLimitError(
                f"{folder}: trained, not yet scored",
                step=module.total_steps,
                total=module.total_steps,
            )
        run = Run(folder)
        flow, origin = run.load_flow(self.plan.evaluation.checkpoint)
        flow = on_device(flow, config)
        with cpu_threads(run.config().threads):
            result = self._judge(folder.parent).judge(flow, model, folder)
        return result | {"step": origin["step"], "seed": seed}

    def _real(self, folder: Path) -> dict[str, Any]:
        from flowkernels.experiments.training import cpu_threads

        with cpu_threads(self.plan.run.threads):
            return self._judge(folder.parent).real()

    def _judge(self, folder: Path) -> Judge:
        """One judge for all tasks, because the features of the real images are expensive."""
        from flowkernels.experiments.study.judge import Judge

        if folder not in self._judges:
            self._judges[folder] = Judge.of(self.plan, folder)
        return self._judges[folder]

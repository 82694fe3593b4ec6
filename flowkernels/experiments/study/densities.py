"""Compares bases on densities in the plane, at equal flow depth (Stimper et al. 2022, 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkernels.bases import ResampledBase, base_names
from flowkernels.experiments.data.files import atomic_write, write_json, write_text
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.experiments.study.study import Study
from flowkernels.experiments.study.tables import markdown_table, mean_and_spread
from flowkernels.experiments.study.task import Task
from flowkernels.experiments.targets import Target, grid_2d, make_target, target_names
from flowkernels.experiments.training.settings import (
    check_settings,
    described,
    from_plain,
    names,
    number,
    seeds,
    whole,
)
from flowkernels.flows import Flow, realnvp

__all__ = ["DensitiesStudy", "grid_scores"]

# Number and seed of the draws in the picture.
_SHOWN = 20_000
_SAMPLE_SEED = 3


@described
@dataclass(frozen=True)
class DensitiesStudy(Study):
    """RealNVP by maximum likelihood on fresh draws of a target, for every base and seed.

    Raises:
        ConfigError: a setting is out of its range.
    """

    targets: tuple[str, ...] = names(
        ("two_moons", "circle", "rings"),
        "Names of :func:`flowkernels.experiments.targets.target_names`.",
        tuple(target_names()),
    )
    bases: tuple[str, ...] = names(
        ("normal", "resampled"),
        "Names of :func:`flowkernels.bases.base_names`.",
        tuple(base_names()),
    )
    seeds: tuple[int, ...] = seeds((0, 1, 2), "Seeds of the weights and draws.")
    layers: int = whole(8, "Couplings of the flow.", least=1, most=1000)
    hidden: int = whole(64, "Width of its networks' two hidden layers.", least=1, most=16_384)
    steps: int = whole(3000, "Steps of AdamW.", least=1, most=10**8)
    batch: int = whole(512, "Draws per step.", least=2, most=1 << 20)
    learning_rate: float = number(
        2e-3, "Peak; 50 steps of warm-up, then a cosine to zero.", most=1e3, positive=True
    )
    grid: int = whole(
        401,
        "Points per axis of the grid on which densities are compared.",
        least=11,
        most=4096,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> DensitiesStudy:
        """From plain values; errors name `source`."""
        return from_plain(cls, values, source)

    def tasks(self) -> list[Task]:
        """One for every target, base and seed; an interrupted task starts again."""
        return [
            Task(_name(target, base, seed), partial(self._execute, target, base, seed))
            for target in self.targets
            for base in self.bases
            for seed in self.seeds
        ]

    def report(self, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
        """``densities.md``, ``densities.json`` and ``densities.png``."""
        settings = dataclasses.asdict(self)
        return [
            write_text(folder / "densities.md", self._text(results)),
            write_json(folder / "densities.json", {"settings": settings, "results": results}),
            self._picture(folder),
        ]

    def _execute(self, target_name: str, base: str, seed: int, folder: Path) -> dict[str, Any]:
        from flowkernels.experiments.training import cpu_threads
        from flowkernels.experiments.training.vectors import fit_vectors

        target = make_target(target_name)
        # One thread: the last bits of a sum depend on the number of threads.
        with cpu_threads(1):
            with fixed_noise(seed):
                flow = realnvp(2, layers=self.layers, hidden=self.hidden, base=base)
            fit_vectors(
                flow,
                _Draws(target, self.batch, self.steps),
                steps=self.steps,
                learning_rate=self.learning_rate,
                warmup_steps=min(50, self.steps),
                seed=seed,
            )
            scores, density = grid_scores(flow, target, self.grid)
            with fixed_noise(_SAMPLE_SEED):
                samples = flow.sample(_SHOWN)
        with atomic_write(folder / "samples.npz") as file:
            np.savez_compressed(file, samples=samples.numpy(), density=density.float().numpy())
        result = {"target": target_name, "base": base, "seed": seed, **scores}
        if isinstance(flow.base, ResampledBase):
            result["proposals"] = float(flow.base.expected_proposals().mean())
        return result

    def _text(self, results: Mapping[str, dict[str, Any]]) -> str:
        rows = []
        for target in self.targets:
            for base in self.bases:
                own = [results[_name(target, base, seed)] for seed in self.seeds]
                proposals = [r["proposals"] for r in own if "proposals" in r]
                rows.append(
                    [
                        target.replace("_", " "),
                        base,
                        mean_and_spread([r["kl"] for r in own]),
                        ", ".join(f"{r['kl']:.4f}" for r in own),
                        mean_and_spread([r["mass"] for r in own]),
                        mean_and_spread(proposals, 1) if proposals else "1",
                    ]
                )
        head = ["target", "base", "KL, nats", "by seed", "mass on the grid", "proposals per draw"]
        return "\n\n".join(
            [
                "# Densities in the plane",
                f"RealNVP of {self.layers} couplings ({self.hidden} hidden units, two layers), "
                f"trained by maximum likelihood on {self.steps} batches of {self.batch} fresh "
                f"draws; seeds {', '.join(map(str, self.seeds))}; mean ± standard deviation over "
                f"them. KL(target || flow) on a grid of {self.grid} x {self.grid} points, both "
                'normalised on it; "mass on the grid" is the flow\'s own (for a resampled base it '
                "includes the error of the estimate of Z).",
                markdown_table(head, rows),
                "![Densities and samples](densities.png)",
            ]
        )

    def _picture(self, folder: Path) -> Path:
        from flowkernels.experiments.study.pictures import density_rows, kept_cell

        rows = []
        for name in self.targets:
            target = make_target(name)
            nodes, _ = grid_2d(target.extent, self.grid)
            exact = target.log_prob(nodes).softmax(0).reshape(self.grid, self.grid)
            with fixed_noise(_SAMPLE_SEED):
                cells = [("target", target.sample(_SHOWN).numpy(), exact.numpy())]
            for base in self.bases:
                kept = folder / _name(name, base, self.seeds[0])
                cells.append(kept_cell(f"{base} base", kept))
            rows.append((name.replace("_", " "), target.extent, cells))
        return density_rows(rows, folder / "densities.png")


class _Draws:
    """New batches of draws from a target, from torch's default generator."""

    def __init__(self, target: Target, batch: int, count: int) -> None:
        self.target, self.batch, self.count = target, batch, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        return (self.target.sample(self.batch) for _ in range(self.count))


@torch.no_grad()
def grid_scores(flow: Flow, target: Target, points: int) -> tuple[dict[str, float], Tensor]:
    """KL(target || flow) on a grid, and the flow's density there.

    Both are normalised on the grid of points^2 nodes over the target's extent: KL is then
    nonnegative and independent of errors in the flow's Z.

    Returns:
        ``kl`` in nats and ``mass``, the flow's own integral over the grid; and the normalised
        density (points, points), first coordinate first.
    """
    nodes, cell = grid_2d(target.extent, points)
    log_p = target.log_prob(nodes).log_softmax(0)
    log_q = torch.cat([flow.log_prob(x.to(flow.dtype)).double() for x in nodes.split(20_000)])
    normalised = log_q.log_softmax(0)
    kl = (log_p.exp() * (log_p - normalised)).sum()
    scores = {"kl": float(kl), "mass": float(log_q.exp().sum()) * cell}
    return scores, normalised.exp().reshape(points, points)


def _name(target: str, base: str, seed: int) -> str:
    return f"{target}-{base}-seed{seed}"

"""Fits a double well by reverse KL and checks the mass of both wells and log Z."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkernels.bases import base_names, make_base
from flowkernels.experiments.data.files import atomic_write, write_json, write_text
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.experiments.study.densities import grid_scores
from flowkernels.experiments.study.study import Study
from flowkernels.experiments.study.tables import markdown_table, mean_and_spread
from flowkernels.experiments.study.task import Task
from flowkernels.experiments.targets import DoubleWell, grid_2d
from flowkernels.experiments.training.reverse_kl import (
    effective_sample_size,
    importance_log_weights,
    log_mean_exp,
    reverse_kl,
)
from flowkernels.experiments.training.settings import (
    ConfigError,
    check_settings,
    described,
    from_plain,
    names,
    number,
    seeds,
    whole,
)
from flowkernels.flows import Flow, realnvp

__all__ = ["DoubleWellStudy"]

_SHOWN = 20_000
_SAMPLE_SEED = 3


@described
@dataclass(frozen=True)
class DoubleWellStudy(Study):
    """RealNVP by reverse KL to a double well, for every base and seed.

    The target is :class:`flowkernels.experiments.targets.DoubleWell`.

    Raises:
        ConfigError: a setting is out of its range.
    """

    bases: tuple[str, ...] = names(
        ("normal", "resampled"),
        "Names of bases that are reparametrised, or resampled ones.",
        tuple(base_names()),
    )
    seeds: tuple[int, ...] = seeds((0, 1, 2), "Seeds of the weights and draws.")
    tilt: float = number(0.5, "Tilt of the wells.", least=-5, most=5)
    layers: int = whole(4, "Couplings of the flow.", least=1, most=1000)
    hidden: int = whole(32, "Width of its networks' two hidden layers.", least=1, most=16_384)
    steps: int = whole(400, "Steps of AdamW.", least=1, most=10**7)
    anneal: float = number(
        0.6,
        "Share of the steps over which the target is p^beta, beta rising from `hottest` to 1;"
        " without it reverse KL settles in one well. 0 for none.",
        most=1,
    )
    hottest: float = number(0.1, "The first beta, in (0, 1].", most=1, positive=True)
    batch: int = whole(256, "Draws per step.", least=2, most=1 << 20)
    learning_rate: float = number(
        5e-3, "Peak; 50 steps of warm-up, then a cosine to zero.", most=1e3, positive=True
    )
    draws: int = whole(
        50_000,
        "Draws of the trained flow for log Z, the weights of the wells and the sample size.",
        least=2,
        most=10**8,
    )
    grid: int = whole(
        401,
        "Points per axis of the grid on which densities are compared.",
        least=11,
        most=4096,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        for base in self.bases:
            if not make_base(base, 2).has_rsample and not base.startswith("resampled"):
                raise ConfigError(f"bases: expected bases with reparametrised draws, got {base!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> DoubleWellStudy:
        """From plain values; errors name `source`."""
        return from_plain(cls, values, source)

    def tasks(self) -> list[Task]:
        """One for every base and seed; an interrupted task starts again."""
        return [
            Task(_name(base, seed), partial(self._execute, base, seed))
            for base in self.bases
            for seed in self.seeds
        ]

    def report(self, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
        """``double_well.md``, ``double_well.json`` and ``double_well.png``."""
        settings = dataclasses.asdict(self)
        return [
            write_text(folder / "double_well.md", self._text(results)),
            write_json(folder / "double_well.json", {"settings": settings, "results": results}),
            self._picture(folder),
        ]

    def _execute(self, base: str, seed: int, folder: Path) -> dict[str, Any]:
        from flowkernels.experiments.training import cpu_threads
        from flowkernels.experiments.training.vectors import fit_vectors

        target = DoubleWell(tilt=self.tilt)

        def loss(flow: Flow, beta: float) -> Tensor:
            return reverse_kl(flow, lambda x: beta * target.log_prob(x), self.batch)

        with cpu_threads(1):
            with fixed_noise(seed):
                flow = realnvp(2, layers=self.layers, hidden=self.hidden, base=base, actnorm=False)
            fit_vectors(
                flow,
                self._betas(),
                steps=self.steps,
                loss=loss,
                learning_rate=self.learning_rate,
                warmup_steps=min(50, self.steps),
                seed=seed,
            )
            with fixed_noise(_SAMPLE_SEED):
                x, log_weights = importance_log_weights(flow, target.log_prob, self.draws)
            scores, density = grid_scores(flow, target, self.grid)
        with atomic_write(folder / "samples.npz") as file:
            shown = x[:_SHOWN].numpy()
            np.savez_compressed(file, samples=shown, density=density.float().numpy())
        log_z, error = log_mean_exp(log_weights)
        right = (x[:, 0] > 0).double()
        return {
            "base": base,
            "seed": seed,
            "right": float(right.mean()),
            "right_reweighted": float((right * torch.softmax(log_weights, 0)).sum()),
            "log_z": log_z,
            "log_z_error": error,
            "log_z_exact": target.log_normalizer,
            "effective_sample_size": effective_sample_size(log_weights),
            "kl": scores["kl"],
        }

    def _betas(self) -> list[float]:
        """The inverse temperature of every step."""
        rise = max(1.0, self.anneal * self.steps)
        start = self.hottest if self.anneal else 1.0
        return [min(1.0, start + (1 - start) * step / rise) for step in range(self.steps)]

    def _text(self, results: Mapping[str, dict[str, Any]]) -> str:
        target = DoubleWell(tilt=self.tilt)
        rows = []
        for base in self.bases:
            own = [results[_name(base, seed)] for seed in self.seeds]
            off = [r["log_z"] - r["log_z_exact"] for r in own]
            rows.append(
                [
                    base,
                    *(mean_and_spread([r[k] for r in own], 3) for k in _COLUMNS),
                    f"{mean_and_spread(off)} (worst {max(off, key=abs):+.4f})",
                    mean_and_spread([r["log_z_error"] for r in own]),
                    mean_and_spread([r["effective_sample_size"] for r in own], 3),
                    mean_and_spread([r["kl"] for r in own]),
                ]
            )
        head = [
            "base",
            "right well",
            "right well, reweighted",
            "log Z - exact",
            "its standard error",
            "effective sample size",
            "KL from target to flow, nats",
        ]
        return "\n\n".join(
            [
                "# A double well by reverse KL",
                f"-log p(a, b) = a^4 - 6 a^2 - {self.tilt} a + b^2 / 2. RealNVP of {self.layers} "
                f"couplings ({self.hidden} hidden units, two layers), {self.steps} steps of "
                f"{self.batch} draws, from a flow that begins as the identity; over the first "
                f"{100 * self.anneal:g} % of the steps the target is p^beta, beta rising from "
                f"{self.hottest:g} to 1; seeds "
                f"{', '.join(map(str, self.seeds))}; mean ± standard deviation over them. A "
                "resampled base takes the centred score function, a Gaussian one the "
                f"reparametrised gradient. Exact: {target.right_weight():.4f} of the mass in the "
                f"right well, log Z = {target.log_normalizer:.4f}. log Z is estimated from "
                f"{self.draws} weighted draws of the flow; the sample size is a fraction of them; "
                f"KL is computed on a grid of {self.grid} x {self.grid} points.",
                markdown_table(head, rows),
                "![Densities and samples](double_well.png)",
            ]
        )

    def _picture(self, folder: Path) -> Path:
        from flowkernels.experiments.study.pictures import density_rows, kept_cell

        target = DoubleWell(tilt=self.tilt)
        nodes, _ = grid_2d(target.extent, self.grid)
        exact = target.log_prob(nodes).softmax(0).reshape(self.grid, self.grid)
        with fixed_noise(_SAMPLE_SEED):
            cells = [("target", target.sample(_SHOWN).numpy(), exact.numpy())]
        for base in self.bases:
            cells.append(kept_cell(f"{base} base", folder / _name(base, self.seeds[0])))
        return density_rows([("double well", target.extent, cells)], folder / "double_well.png")


_COLUMNS = ("right", "right_reweighted")


def _name(base: str, seed: int) -> str:
    return f"{base}-seed{seed}"

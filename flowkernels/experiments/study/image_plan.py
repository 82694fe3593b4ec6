"""The plan of an image study: models, seeds and the extent of the evaluation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowkernels.experiments.evaluation.extractor import TASKS
from flowkernels.experiments.training.config import RunConfig
from flowkernels.experiments.training.settings import (
    ConfigError,
    check_names,
    check_settings,
    described,
    from_plain,
    name,
    seeds,
    text,
    texts,
    whole,
)
from flowkernels.interpolation import path_names

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OWN", "REAL", "Evaluation", "ImagePlan", "Model", "extractor_name", "task_name"]

_MOST_MODELS = 1000
# It becomes the name of a folder.
_LONGEST_NAME = 100
OWN = "own"
INCEPTION = "inception"
REAL = "real-images"


@dataclass(frozen=True)
class Model:
    """A row of the study.

    Attributes:
        name: name in tables.
        settings: differences from the common settings of :class:`RunConfig`.
        paths: names of :mod:`flowkernels.interpolation`, or ``own`` for the base's default.
        paper: results of the paper to print with ours: ``bpd``, ``fid``, and ``paths``, the
            ``bpd`` and ``fid`` of each path.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = (OWN,)
    paper: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The name as a folder name."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


@described
@dataclass(frozen=True)
class Evaluation:
    """The numbers of samples, pairs and points in the report."""

    extractors: tuple[str, ...] = texts(
        ("classes", "rotations"),
        "Of features: `classes` and `rotations`, networks trained on the data set to tell them, or"
        " a file of Inception's weights.",
    )
    draws: int = whole(
        10,
        "Draws of the dequantisation noise for the importance-weighted bound.",
        least=1,
        most=10_000,
    )
    samples: int = whole(
        10_000, "Images drawn from each flow for FID and KID.", least=2, most=10**7
    )
    pairs: int = whole(
        1000, "Pairs of test images to interpolate between.", least=2, most=1_000_000
    )
    points: int = whole(
        7, "Points of a path including its ends; the inner ones are scored.", least=3, most=1000
    )
    shown: int = whole(4, "Pairs in the picture.", least=1, most=100)
    checkpoint: str = name("best", "`best` or `last`.", ("best", "last"))

    def __post_init__(self) -> None:
        check_settings(self)
        if len(files := sorted(set(self.extractors) - set(TASKS))) > 1:
            raise ConfigError(
                f"extractors: expected {' or '.join(TASKS)} and at most one file of Inception's "
                f"weights, got {' and '.join(files)}"
            )


@dataclass(frozen=True)
class ImagePlan:
    """Every model with every seed.

    Attributes:
        run: settings that all models share.
        models: the rows.
        seeds: of each.
        evaluation: extent of the evaluation.
        title: of the table.
    """

    run: RunConfig
    models: tuple[Model, ...]
    seeds: tuple[int, ...] = seeds((0,), "Seeds of each model.")
    evaluation: Evaluation = Evaluation()
    title: str = text("Bases and paths", "Of the table.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """From plain values: the attributes, models as a list of mappings.

        Raises:
            ConfigError: a setting is unknown or wrong.
        """
        parts: dict[str, Any] = dict(values)
        parts["run"] = RunConfig.from_dict(parts.get("run", {}), source=f"{source}: run")
        models = parts.get("models", [])
        if not isinstance(models, list) or len(models) > _MOST_MODELS:
            raise ConfigError(f"{source}: models: expected a list of at most {_MOST_MODELS}")
        parts["models"] = tuple(_model(entry, parts["run"], source) for entry in models)
        parts["evaluation"] = from_plain(
            Evaluation, parts.get("evaluation", {}), f"{source}: evaluation"
        )
        return from_plain(cls, parts, source)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.models:
            raise ConfigError("models: expected at least one, got none")
        if len({model.folder for model in self.models}) < len(self.models):
            raise ConfigError(
                f"models: expected different names, got {[model.name for model in self.models]}"
            )

    def config(self, model: Model, seed: int) -> RunConfig:
        """The settings of one run."""
        return dataclasses.replace(self.run, **model.settings, seed=seed)


def task_name(model: Model, seed: int) -> str:
    """The folder of a run."""
    return f"{model.folder}-seed{seed}"


def extractor_name(chosen: str) -> str:
    """The name in results of an entry of `Evaluation.extractors`."""
    return chosen if chosen in TASKS else INCEPTION


def _model(entry: Any, run: RunConfig, source: str) -> Model:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ConfigError(
            f"{source}: models: expected mappings with a name, got {repr(entry)[:100]}"
        )
    if not re.search("[a-z0-9]", entry["name"].lower()[:_LONGEST_NAME]) or (
        len(entry["name"]) > _LONGEST_NAME
    ):
        raise ConfigError(
            f"{source}: models: expected names with a letter or digit, of at most "
            f"{_LONGEST_NAME} characters, got {entry['name'][:100]!r}"
        )
    settings = {k: v for k, v in entry.items() if k not in ("name", "paths", "paper")}
    where = f"{source}: models: {entry['name']}"
    RunConfig.from_dict({**run.to_dict(), **settings}, source=where)
    paths = entry.get("paths", [OWN])
    paths = tuple(paths) if isinstance(paths, list) else paths
    try:
        check_names("paths", paths, [OWN, *path_names()])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Model(entry["name"], settings, paths, _paper(entry.get("paper", {}), where))


def _paper(given: Any, where: str) -> Mapping[str, Any]:
    """The results of the paper, verified: `paths` has those of each path."""
    paths = given.get("paths", {}) if isinstance(given, Mapping) else None
    if not isinstance(paths, Mapping) or not all(isinstance(p, Mapping) for p in paths.values()):
        raise ConfigError(f"{where}: paper: expected bpd, fid and paths, a mapping of mappings")
    return given

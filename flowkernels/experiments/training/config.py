"""The configuration of a run: one flat record, saved in the run's folder."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowkernels.bases import base_names
from flowkernels.experiments.data.files import write_json
from flowkernels.experiments.data.registry import DATASETS
from flowkernels.experiments.training.settings import (
    ConfigError,
    check_settings,
    described,
    from_plain,
    name,
    number,
    text,
    whole,
)

__all__ = ["ConfigError", "RunConfig"]

_DATA, _FLOW, _TRAINING, _MACHINE = "Data", "Flow", "Training", "Machine and records"
_DATASETS = ", ".join(f"`{known}` ({entry.summary})" for known, entry in DATASETS.items())
_BASES = ", ".join(f"`{known}`" for known in base_names())


@described
@dataclass(frozen=True)
class RunConfig:
    """All settings that determine the results of a training run.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> RunConfig(data="digits", levels=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        flowkernels.experiments...ConfigError: levels: expected a whole number from 1, got 0
    """

    data: str = text("fashion-mnist", f"Data set: {_DATASETS}.", panel=_DATA)
    data_dir: str | None = text(None, "Folder of its files, if required.", panel=_DATA)
    val_size: int = whole(1000, "Training images held out for validation.", least=0, panel=_DATA)
    levels: int = whole(2, "Scales; each halves the image's sides.", least=1, panel=_FLOW)
    steps: int = whole(4, "Glow steps per scale.", least=1, panel=_FLOW)
    hidden: int = whole(64, "Channels of the coupling networks.", least=1, panel=_FLOW)
    alpha: float = number(
        0.05,
        "Margin of the logit that maps levels to reals, 0 < alpha < 1/2.",
        positive=True,
        panel=_FLOW,
    )
    base: str = name("vmf", f"Base distribution: {_BASES}.", tuple(base_names()), panel=_FLOW)
    concentration_scale: float = number(
        1.0,
        "c of the base: concentration c d on a sphere, c in every coordinate on the simplex; d is"
        " the latent dimension.",
        positive=True,
        panel=_FLOW,
    )
    epochs: int = whole(20, "Passes over the training images.", least=1, panel=_TRAINING)
    steps_per_epoch: int | None = whole(
        None,
        "Batches per epoch; default: all. With fewer, an epoch is a new random part"
        " of the images, and validation comes more often.",
        least=1,
        panel=_TRAINING,
    )
    batch_size: int = whole(64, "Images per step and device.", least=1, panel=_TRAINING)
    learning_rate: float = number(
        1e-3, "Peak learning rate of AdamW.", positive=True, panel=_TRAINING
    )
    weight_decay: float = number(0.0, "Decoupled weight decay (AdamW).", panel=_TRAINING)
    schedule: str = name(
        "cosine",
        "`cosine` to zero at the last step, or `constant`.",
        ("cosine", "constant"),
        panel=_TRAINING,
    )
    warmup_steps: int = whole(
        100, "Steps over which the learning rate rises from zero.", least=0, panel=_TRAINING
    )
    gradient_clip: float = number(
        50.0, "Largest Euclidean norm of the gradient.", positive=True, panel=_TRAINING
    )
    precision: str = name(
        "32-true",
        "`32-true`, `64-true` or `bf16-mixed`.",
        ("32-true", "64-true", "bf16-mixed"),
        panel=_MACHINE,
    )
    seed: int = whole(
        0,
        "Seed of the weights, the order of the images and the dequantisation noise.",
        least=0,
        panel=_TRAINING,
    )
    checkpoint_every: int = whole(
        500, "Steps between checkpoints; one more after every epoch.", least=1, panel=_MACHINE
    )
    log_every: int = whole(10, "Steps between rows of metrics.csv.", least=1, panel=_MACHINE)
    accelerator: str = name(
        "auto",
        "`cpu`, `gpu`, or `auto`: a GPU if there is one.",
        ("auto", "cpu", "gpu"),
        panel=_MACHINE,
    )
    threads: int | None = whole(
        None,
        "CPU threads of each process; default: torch's choice. The run keeps the"
        " number: the last bits of a sum depend on it.",
        least=1,
        panel=_MACHINE,
    )
    devices: int = whole(
        1,
        "Number of devices; several train by distributed data parallelism.",
        least=1,
        panel=_MACHINE,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "configuration") -> RunConfig:
        """A configuration from plain values; missing ones take their defaults.

        Raises:
            ConfigError: a name is unknown or a value out of its range.
        """
        return from_plain(cls, values, source)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunConfig:
        """Read a configuration from a JSON file.

        Raises:
            ConfigError: the file is missing, is not JSON, or has a wrong setting.
        """
        try:
            values = json.loads(Path(path).read_text())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise ConfigError(f"{path}: expected JSON ({error})") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected a JSON object, got {type(values).__name__}")
        return cls.from_dict(values, source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return dataclasses.asdict(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration as JSON."""
        write_json(path, self.to_dict())

    def differences(self, other: RunConfig) -> dict[str, tuple[Any, Any]]:
        """Settings that differ, with both values.

        Example:
            >>> RunConfig().differences(RunConfig(seed=3))
            {'seed': (0, 3)}
        """
        mine, theirs = self.to_dict(), other.to_dict()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}

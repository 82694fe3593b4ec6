"""What a run is: one flat record, written into the run's folder."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowkernels.bases import base_names
from flowkernels.data.files import write_json
from flowkernels.training.settings import (
    ConfigError,
    check_names,
    check_numbers,
    from_plain,
)

__all__ = ["ConfigError", "RunConfig"]

_CHOICES = {
    "base": tuple(base_names()),
    "schedule": ("cosine", "constant"),
    "precision": ("32-true", "64-true", "bf16-mixed"),
    "accelerator": ("auto", "cpu", "gpu"),
}
_WHOLE = {
    "levels": 1,
    "steps": 1,
    "hidden": 1,
    "batch_size": 1,
    "epochs": 1,
    "steps_per_epoch": 1,
    "val_size": 0,
    "warmup_steps": 0,
    "checkpoint_every": 1,
    "log_every": 1,
    "threads": 1,
    "devices": 1,
    "seed": 0,
}
_POSITIVE = ("alpha", "concentration_scale", "learning_rate", "gradient_clip")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of a training run.

    Attributes:
        data: name of the data set, see :data:`flowkernels.data.DATASETS`.
        data_dir: where its files are, where it needs to be told.
        val_size: training images held out for validation.
        levels: scales of the flow.
        steps: Glow steps per scale.
        hidden: channels of the coupling networks.
        alpha: margin of the logit that maps levels to reals, 0 < alpha < 1/2.
        base: a name of :func:`flowkernels.bases.base_names`.
        concentration_scale: c of the bases that have one: for the vMF, concentration = c d, d
            the latent dimension.
        epochs: passes over the training images.
        steps_per_epoch: batches in an epoch; None for all. With fewer than all, an epoch is a
            new random part of the images, and validation comes more often.
        batch_size: images per step on each device.
        learning_rate: peak of Adam's learning rate.
        weight_decay: decoupled (AdamW).
        schedule: ``cosine`` to zero at the last step, or ``constant``.
        warmup_steps: over which the learning rate rises linearly from zero.
        gradient_clip: largest Euclidean norm of the gradient.
        precision: ``32-true``, ``64-true`` or ``bf16-mixed``.
        seed: of the weights, the order of the images and the dequantisation noise.
        checkpoint_every: steps between checkpoints, besides one after every epoch.
        log_every: steps between rows of metrics.csv.
        accelerator: ``cpu``, ``gpu``, or ``auto``: a GPU where there is one.
        threads: of the CPU in each process; None for torch's choice, which the run then keeps:
            the last bits of a sum depend on it.
        devices: how many; more than one train by distributed data parallelism.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> RunConfig(data="digits", levels=0)
        Traceback (most recent call last):
        ...
        flowkernels.training.settings.ConfigError: levels: expected a whole number from 1, got 0
    """

    data: str = "fashion-mnist"
    data_dir: str | None = None
    val_size: int = 1000
    levels: int = 2
    steps: int = 4
    hidden: int = 64
    alpha: float = 0.05
    base: str = "vmf"
    concentration_scale: float = 1.0
    epochs: int = 20
    steps_per_epoch: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_steps: int = 100
    gradient_clip: float = 50.0
    precision: str = "32-true"
    seed: int = 0
    checkpoint_every: int = 500
    log_every: int = 10
    accelerator: str = "auto"
    threads: int | None = None
    devices: int = 1

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            check_names(name, (getattr(self, name),), choices)
        check_numbers(
            self,
            whole=_WHOLE,
            optional=("steps_per_epoch", "threads"),
            positive=_POSITIVE,
            not_negative=("weight_decay",),
        )

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

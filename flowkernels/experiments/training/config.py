"""The configuration of a run: one flat record, saved in the run's folder.

`RunConfig` is of a run on images, `table_config.TableConfig` of one on a table.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from flowkernels.bases import base_names
from flowkernels.experiments.data.files import write_json
from flowkernels.experiments.data.registry import DATASETS
from flowkernels.experiments.training.settings import (
    LARGEST_SEED,
    ConfigError,
    check_settings,
    described,
    from_plain,
    name,
    number,
    read_settings,
    text,
    whole,
)

__all__ = [
    "ADAMW",
    "DATA",
    "FLOW",
    "TRAINING",
    "WEIGHTS",
    "ConfigError",
    "RunConfig",
    "TrainingConfig",
]

Config = TypeVar("Config", bound="TrainingConfig")

DATA, FLOW, TRAINING, _MACHINE = "Data", "Flow", "Training", "Machine and records"
_DATASETS = ", ".join(f"`{known}` ({entry.summary})" for known, entry in DATASETS.items())
# What no run reaches, and what every counter holds.
_MANY = 10**9
WEIGHTS = "the weights belong to it"
ADAMW = "the optimiser's state in the checkpoint was gathered with it"
_BASES = ", ".join(f"`{known}`" for known in base_names())


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of training, which runs on images and on tables share.

    Attributes:
        subject: what such a run trains on, for messages.
        size_settings: the settings that decide how large the flow is.
    """

    subject: ClassVar[str] = "data"
    size_settings: ClassVar[tuple[str, ...]] = ()

    data: str = text(
        "",
        "Name or file.",
        panel=DATA,
        kept="the weights were trained on it",
    )
    data_dir: str | None = text(None, "Folder of its files, if required.", panel=DATA)
    base: str = name(
        "vmf",
        f"Base distribution: {_BASES}.",
        tuple(base_names()),
        panel=FLOW,
        kept=WEIGHTS,
    )
    concentration_scale: float = number(
        1.0,
        "c of the base: concentration c d on a sphere, c in every coordinate on the simplex; d is"
        " the latent dimension.",
        most=1e6,
        positive=True,
        panel=FLOW,
        kept=WEIGHTS,
    )
    epochs: int = whole(
        20, "Passes over the training data.", least=1, most=1_000_000, panel=TRAINING
    )
    steps_per_epoch: int | None = whole(
        None,
        "Batches per epoch; default: all. With fewer, an epoch is a new random part"
        " of the data, and validation comes more often.",
        least=1,
        most=_MANY,
        panel=TRAINING,
    )
    batch_size: int = whole(
        64,
        "Images or rows per step and device.",
        least=1,
        most=1 << 20,
        panel=TRAINING,
        kept="the position within the epoch counts batches of this size",
    )
    accumulate: int = whole(
        1,
        "Equal parts in which a batch is computed, one after the other, for the memory of one;"
        " their gradients are added up, and a step is still one of the whole batch.",
        least=1,
        most=1 << 20,
        panel=_MACHINE,
    )
    learning_rate: float = number(
        1e-3, "Peak learning rate of AdamW.", most=1e3, positive=True, panel=TRAINING, kept=ADAMW
    )
    weight_decay: float = number(
        0.0, "Decoupled weight decay (AdamW).", most=1e3, panel=TRAINING, kept=ADAMW
    )
    schedule: str = name(
        "cosine",
        "`cosine` to zero at the last step, or `constant`.",
        ("cosine", "constant"),
        panel=TRAINING,
        kept=ADAMW,
    )
    warmup_steps: int = whole(
        100,
        "Steps over which the learning rate rises from zero.",
        least=0,
        most=_MANY,
        panel=TRAINING,
        kept=ADAMW,
    )
    gradient_clip: float = number(
        50.0,
        "Largest Euclidean norm of the gradient.",
        most=1e12,
        positive=True,
        panel=TRAINING,
        kept=ADAMW,
    )
    ema_decay: float = number(
        0.0,
        "Averages the weights over the steps: averaged = d averaged + (1 - d) weights, with d the"
        " smaller of this and (1 + n)/(10 + n) after n steps. The averaged weights are validated,"
        " and other commands use them. 0.999, say; 0: none.",
        most=0.999999,
        panel=TRAINING,
        kept="the average in the checkpoint was gathered with it",
    )
    precision: str = name(
        "32-true",
        "`32-true`, `64-true` or `bf16-mixed`.",
        ("32-true", "64-true", "bf16-mixed"),
        panel=_MACHINE,
    )
    seed: int = whole(
        0,
        "Seed of the weights, the order of the data and the dequantisation noise.",
        least=0,
        most=LARGEST_SEED,
        panel=TRAINING,
        kept="the order of the data and the noise depend on it",
    )
    checkpoint_every: int = whole(
        500,
        "Steps between checkpoints; one more after every epoch.",
        least=1,
        most=_MANY,
        panel=_MACHINE,
    )
    checkpoint_mib: int | None = whole(
        None,
        "Largest size of a checkpoint's file in MiB; a larger checkpoint is an index and parts"
        " beside it. Default: one file of any size.",
        least=1,
        most=1 << 20,
        panel=_MACHINE,
    )
    log_every: int = whole(
        10, "Steps between rows of metrics.csv.", least=1, most=_MANY, panel=_MACHINE
    )
    accelerator: str = name(
        "auto",
        "`cpu`, `gpu`, or `auto`: a GPU if there is one.",
        ("auto", "cpu", "gpu"),
        panel=_MACHINE,
    )
    cuda_graph: str = name(
        "auto",
        "`auto`: a single GPU replays training steps from a CUDA graph, which saves the time of"
        " their launches; `off`: never.",
        ("auto", "off"),
        panel=_MACHINE,
    )
    compile: str = name(
        "off",
        "`on`: training steps are compiled by torch.compile. It takes minutes at the first time and"
        " needs a C++ compiler; little is gained on a CPU.",
        ("off", "on"),
        panel=_MACHINE,
    )
    threads: int | None = whole(
        None,
        "CPU threads of each process; default: torch's choice. The run keeps the"
        " number: the last bits of a sum depend on it.",
        least=1,
        most=1024,
        panel=_MACHINE,
    )
    devices: int = whole(
        1,
        "Number of devices; several train by distributed data parallelism.",
        least=1,
        most=1024,
        panel=_MACHINE,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.accumulate > self.batch_size:
            raise ConfigError(
                f"accumulate: expected at most the batch_size, {self.batch_size}, got "
                f"{self.accumulate}"
            )
        if self.accumulate > 1 and self.devices > 1:
            raise ConfigError(
                f"accumulate: expected 1 with several devices, got {self.accumulate} with devices "
                f"{self.devices}"
            )

    @classmethod
    def from_dict(
        cls: type[Config], values: Mapping[str, Any], *, source: str = "configuration"
    ) -> Config:
        """A configuration from plain values; missing ones take their defaults.

        Raises:
            ConfigError: a name is unknown or a value out of its range.
        """
        return from_plain(cls, values, source)

    @classmethod
    def load(cls: type[Config], path: str | os.PathLike[str]) -> Config:
        """Read a configuration from a JSON file.

        Raises:
            ConfigError: the file is missing, is not JSON, or has a wrong setting.
        """
        text = read_settings(path)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
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

    def differences(self, other: TrainingConfig) -> dict[str, tuple[Any, Any]]:
        """Settings that differ, with both values.

        Example:
            >>> RunConfig().differences(RunConfig(seed=3))
            {'seed': (0, 3)}
        """
        mine, theirs = self.to_dict(), other.to_dict()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


@described
@dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """All settings that determine the results of a training run on images.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        >>> RunConfig(data="digits", levels=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        flowkernels.experiments...ConfigError: levels: expected a whole number from 1, got 0
    """

    subject = "images"
    size_settings = ("levels", "steps", "hidden")

    data: str = text(
        "fashion-mnist",
        f"Data set: {_DATASETS}; or the path of a table (.csv, .npy, .npz).",
        panel=DATA,
        kept="the weights were trained on it",
    )
    val_size: int = whole(
        1000,
        "Training images held out for validation.",
        least=0,
        most=_MANY,
        panel=DATA,
        kept="the images held out would change, and some were already trained on",
    )
    levels: int = whole(
        2, "Scales; each halves the image's sides.", least=1, most=16, panel=FLOW, kept=WEIGHTS
    )
    steps: int = whole(4, "Glow steps per scale.", least=1, most=1000, panel=FLOW, kept=WEIGHTS)
    hidden: int = whole(
        64,
        "Channels of the coupling networks.",
        least=1,
        most=65_536,
        panel=FLOW,
        kept=WEIGHTS,
    )
    alpha: float = number(
        0.05,
        "Margin of the logit that maps levels to reals, 0 < alpha < 1/2.",
        least=1e-9,
        most=0.49,
        panel=FLOW,
        kept=WEIGHTS,
    )
    dequantization: str = name(
        "uniform",
        "Noise that makes levels continuous: `uniform`, or `variational`, learned with the flow.",
        ("uniform", "variational"),
        panel=FLOW,
        kept=WEIGHTS,
    )

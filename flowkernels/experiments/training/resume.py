"""What a resumed run may change, and how its schedule goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

from flowkernels.experiments.training.config import TrainingConfig
from flowkernels.experiments.training.errors import RunError
from flowkernels.experiments.training.run import Run
from flowkernels.experiments.training.settings import ConfigError, setting_of

__all__ = ["check_changes", "total_steps"]


def check_changes(run: Run, existing: TrainingConfig, wanted: TrainingConfig) -> None:
    """Raise if a resumed run would change a setting that it keeps.

    Each setting declares with ``kept`` why it may not change. Epochs, steps per epoch, the
    intervals of checkpoints and records, devices, threads, precision and the folder of the data
    may.

    Raises:
        ConfigError: it would; the message names each setting and the reason.
    """
    if type(existing) is not type(wanted):
        raise ConfigError(
            f"{run.path}: a resumed run keeps its data, got {existing.data!r} ({existing.subject}) "
            f"-> {wanted.data!r} ({wanted.subject})"
        )
    declared = {field.name: setting_of(field) for field in dataclasses.fields(existing)}
    refused = [
        f"{name} ({old!r} -> {new!r}): {declared[name].kept}"
        for name, (old, new) in existing.differences(wanted).items()
        if declared[name].kept
    ]
    if refused:
        raise ConfigError(
            f"{run.path}: a resumed run keeps its settings, got {'; '.join(refused)}. "
            f"For other settings start a new run in another folder, with --config {run.config_file}"
        )


def total_steps(config: TrainingConfig, steps_in_epoch: int, state: dict[str, Any] | None) -> int:
    """The step at which the schedule ends: the steps done and those to come.

    For a new run, and for a resumed one with the same settings, that is epochs times steps. The
    learning rate of every step after the resumption is that of the schedule with this end; the
    steps before it had theirs. An interrupted epoch goes on with its next batch. If it already has
    as many batches as an epoch now has, it ends at once, without a validation. With another number
    of devices, some images of that epoch are seen twice or not at all.

    Args:
        config: of the run from now on.
        steps_in_epoch: with these settings.
        state: the checkpoint from which the run is resumed; None for a new run.

    Raises:
        ConfigError: the run has already trained for more epochs.
        RunError: the checkpoint has no progress.
    """
    if state is None:
        return config.epochs * steps_in_epoch
    try:
        loop = state["loops"]["fit_loop"]
        epochs = loop["epoch_progress"]["current"]
        done, ready = int(epochs["processed"]), int(epochs["ready"])
        batches = int(loop["epoch_loop.batch_progress"]["current"]["ready"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the checkpoint does not say how far training had come, so it cannot be resumed "
            f"({error!r})"
        ) from error
    if done > config.epochs:
        raise ConfigError(
            f"epochs: the run has already trained for {done} epochs, got {config.epochs}"
        )
    in_epoch = min(batches, steps_in_epoch) if ready > done else 0
    left = (config.epochs - done) * steps_in_epoch - in_epoch
    return int(state["global_step"]) + left

"""How large a flow is, known before it is built."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from flowkernels.experiments.training.config import RunConfig, TrainingConfig
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.experiments.training.table_config import TableConfig

__all__ = [
    "check_columns",
    "check_memory",
    "check_shape",
    "fewest_activations",
    "fewest_parameters",
    "memory",
]

_MOST_VALUES = 1 << 24


def check_shape(event_shape: Sequence[Any]) -> tuple[int, int, int]:
    """The shape of an image, verified.

    Raises:
        ConfigError: it is not (C, H, W), or the image would have more than 2^24 values.

    Example:
        >>> check_shape([1, 28, 28])
        (1, 28, 28)
    """
    sizes = tuple(event_shape)
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if len(sizes) != 3 or not whole or min(sizes) < 1 or math.prod(sizes) > _MOST_VALUES:
        shown = repr(sizes) if len(sizes) < 8 else f"{len(sizes)} values"
        raise ConfigError(
            f"event_shape: expected (C, H, W) of at most {_MOST_VALUES} values, got {shown[:100]}"
        )
    return sizes[0], sizes[1], sizes[2]


def check_columns(event_shape: Sequence[Any]) -> tuple[int]:
    """The shape of what a flow models of a table's row, verified.

    Raises:
        ConfigError: it is not (d,), or there are more than 2^24 columns.

    Example:
        >>> check_columns([6])
        (6,)
    """
    size = event_shape[0] if len(event_shape) == 1 else None
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MOST_VALUES:
        shown = repr(tuple(event_shape)) if len(event_shape) < 8 else f"{len(event_shape)} values"
        raise ConfigError(f"event_shape: expected (d,), d from 1, got {shown[:100]}")
    return (size,)


def fewest_parameters(config: TrainingConfig, event_shape: tuple[int, ...]) -> int:
    """A lower bound of the number of parameters.

    Every step of a Glow has a 1x1 convolution of hidden by hidden channels and, on C' >= 2 C
    channels, ones of C' by C', C'/2 by hidden (3x3) and hidden by C' (3x3). Every layer of a flow
    on a table has a network with two hidden layers, d/2 inputs at least and as many outputs.
    """
    if isinstance(config, TableConfig):
        halved = event_shape[0] // 2
        return config.layers * config.hidden * (config.hidden + 2 * halved)
    assert isinstance(config, RunConfig)
    channels = 2 * event_shape[0]
    step = config.hidden**2 + channels**2 + 9 * config.hidden * (channels // 2 + channels)
    return config.levels * config.steps * step


def fewest_activations(config: TrainingConfig, event_shape: tuple[int, ...], batch: int) -> int:
    """A lower bound of the numbers that the backward pass of a batch needs.

    Those are the two hidden layers of every step of the first level, where the image has half its
    height and width; of a flow on a table, one hidden layer of every network.
    """
    if isinstance(config, TableConfig):
        return config.layers * batch * config.hidden
    assert isinstance(config, RunConfig)
    _, height, width = event_shape
    return 2 * config.steps * batch * config.hidden * (height // 2) * (width // 2)


def memory() -> int | None:
    """The bytes of this machine's memory; None if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(
    config: TrainingConfig, event_shape: tuple[int, ...], *, batch: int | None = None
) -> None:
    """Raise if a flow certainly does not fit the memory.

    Args:
        config: its settings.
        event_shape: of one datum.
        batch: data computed at once in a training step on the CPU: counts gradients, AdamW's two
            moments, averages and the activations, too. None for the weights alone.

    Raises:
        ConfigError: it does not fit; the message names the settings that decide.
    """
    size = 8 if config.precision == "64-true" else 4
    parameters = fewest_parameters(config, event_shape)
    needed, decisive = size * parameters, ", ".join(config.size_settings)
    if batch is not None:
        needed *= 5 if config.ema_decay else 4
        activations = size * fewest_activations(config, event_shape, batch)
        if activations > needed:
            decisive = ", ".join(("batch_size", *config.size_settings[-2:]))
        needed += activations
    available = memory()
    if available is not None and needed > available:
        raise ConfigError(
            f"{decisive}: a flow of at least {parameters:,} parameters needs at least "
            f"{needed / 2**30:,.0f} GiB of memory, this machine has {available / 2**30:,.0f}"
        )

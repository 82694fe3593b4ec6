"""Settings of runs and studies, from plain values to checked records."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["ConfigError", "check_names", "check_numbers", "check_seeds", "from_plain"]

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting is unknown or out of its range; the message names it."""


def from_plain(kind: type[T], values: Mapping[str, Any], source: str) -> T:
    """A dataclass of settings from plain values; lists become tuples, missing ones defaults.

    Raises:
        ConfigError: a name is unknown, or the dataclass refuses a value; `source` is named.
    """
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(str(name) for name in set(values) - known):
        raise ConfigError(
            f"{source}: unknown setting {', '.join(unknown)}; the settings are "
            f"{', '.join(sorted(known))}"
        )
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**plain)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def check_names(name: str, values: object, choices: Collection[str]) -> None:
    """Refuse a list of names that is empty, repeats one, or has one that is not a choice.

    Example:
        >>> check_names("bases", ("normal", "vmf"), ["normal", "vmf"])
    """
    if not isinstance(values, tuple) or not values:
        raise ConfigError(f"{name}: expected a list, got {values!r}")
    for value in values:
        if value not in choices:
            raise ConfigError(f"{name}: expected {' or '.join(choices)}, got {value!r}")
    if len(set(values)) < len(values):
        raise ConfigError(f"{name}: expected different names, got {list(values)}")


def check_numbers(
    settings: object,
    *,
    whole: Mapping[str, int],
    optional: Collection[str] = (),
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
) -> None:
    """Refuse whole numbers below their least value and numbers out of range.

    ``optional`` names those that may be None.
    """
    for name, least in whole.items():
        value = getattr(settings, name)
        if value is None and name in optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name}: expected a whole number from {least}, got {value!r}")
    for name in (*positive, *not_negative):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{name}: expected a number, got {value!r}")
        if not 0 <= value < float("inf") or (name in positive and value == 0):
            wanted = "a positive number" if name in positive else "a number from 0"
            raise ConfigError(f"{name}: expected {wanted}, got {value!r}")


def check_seeds(name: str, chosen: object) -> None:
    """Refuse a list of seeds that is empty, repeats one, or has one that is none."""
    if not isinstance(chosen, tuple) or not chosen:
        raise ConfigError(f"{name}: expected a list, got {chosen!r}")
    for value in chosen:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name}: expected whole numbers from 0, got {value!r}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"{name}: expected different numbers, got {list(chosen)}")

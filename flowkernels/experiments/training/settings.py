"""Settings of runs and studies: each is declared once, with its default, bounds and help.

A record of settings is a frozen dataclass with fields made by `whole`, `number`, `name`, `names`,
`seeds` and `text`. The fields determine the checks (`check_settings`), the record's documentation
(`described`) and the options of the command line (`cli.options`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = [
    "ConfigError",
    "Setting",
    "check_names",
    "check_settings",
    "described",
    "from_plain",
    "name",
    "names",
    "number",
    "seeds",
    "setting_of",
    "text",
    "whole",
]

T = TypeVar("T")
Check = Callable[[str, Any], None]


class ConfigError(ValueError):
    """A setting is unknown or out of its range; the message names it."""


@dataclass(frozen=True)
class Setting:
    """The declaration of a field, in addition to its name, type and default.

    Attributes:
        help: a sentence or two.
        check: called with the setting's name and value; raises ConfigError for a wrong value.
        panel: heading in the command's help.
    """

    help: str
    check: Check
    panel: str = ""


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """The declaration of a field."""
    declared = field.metadata["setting"]
    assert isinstance(declared, Setting)
    return declared


# ---- declarations ------------------------------------------------------------------


def whole(default: int | None, help: str, *, least: int, panel: str = "") -> Any:
    """A whole number >= `least`; None is allowed if it is the default."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name}: expected a whole number from {least}, got {value!r}")

    return _field(default, help, check, panel)


def number(
    default: float,
    help: str,
    *,
    least: float = 0.0,
    most: float = math.inf,
    positive: bool = False,
    panel: str = "",
) -> Any:
    """A finite number from `least` to `most`; not 0 itself where `positive`."""
    wanted = "a positive number" if positive else f"a number from {least:g}"
    if most < math.inf:
        wanted = f"a number from {least:g} to {most:g}"

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{name}: expected a number, got {value!r}")
        within = math.isfinite(value) and least <= value <= most
        if not within or (positive and value == 0):
            raise ConfigError(f"{name}: expected {wanted}, got {value!r}")

    return _field(default, help, check, panel)


def name(default: str, help: str, choices: Collection[str], *, panel: str = "") -> Any:
    """One of the `choices`."""
    return _field(default, help, lambda key, value: check_names(key, (value,), choices), panel)


def names(default: tuple[str, ...], help: str, choices: Collection[str]) -> Any:
    """At least one of the `choices`, without repetition."""
    return _field(default, help, lambda key, value: check_names(key, value, choices), "")


def seeds(default: tuple[int, ...], help: str) -> Any:
    """At least one seed, without repetition."""
    return _field(default, help, _check_seeds, "")


def text(default: str | None, help: str, *, panel: str = "") -> Any:
    """Any text; None is allowed if it is the default."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise ConfigError(f"{name}: expected text, got {value!r}")

    return _field(default, help, check, panel)


def _field(default: Any, help: str, check: Check, panel: str) -> Any:
    def checked(name: str, value: Any) -> None:
        if value is not None or default is not None:
            check(name, value)

    return dataclasses.field(default=default, metadata={"setting": Setting(help, checked, panel)})


# ---- checks and documentation -------------------------------------------------------------


def check_settings(record: Any) -> None:
    """Check every setting of a record.

    Raises:
        ConfigError: a value is out of its range.
    """
    for field in dataclasses.fields(record):
        if "setting" in field.metadata:
            setting_of(field).check(field.name, getattr(record, field.name))


def described(kind: type[T]) -> type[T]:
    """A class decorator that lists the settings in the docstring's "Attributes" section."""
    if kind.__doc__ is None:  # python -OO
        return kind
    lines = ["Attributes:"]
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if "setting" in field.metadata:
            lines.append(f"        {field.name}: {setting_of(field).help}")
    kind.__doc__ = kind.__doc__.rstrip() + "\n\n    " + "\n".join(lines) + "\n    "
    return kind


def from_plain(kind: type[T], values: Mapping[str, Any], source: str) -> T:
    """A dataclass of settings from plain values; lists become tuples, missing ones defaults.

    Raises:
        ConfigError: a name is unknown or a value is wrong; the message names `source`.
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
    """Raise ConfigError if a list of names is empty, repeats a name, or has an unknown one.

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


def _check_seeds(name: str, chosen: Any) -> None:
    if not isinstance(chosen, tuple) or not chosen:
        raise ConfigError(f"{name}: expected a list, got {chosen!r}")
    for value in chosen:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name}: expected whole numbers from 0, got {value!r}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"{name}: expected different numbers, got {list(chosen)}")

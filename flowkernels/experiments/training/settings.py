"""Settings of runs and studies: each is declared once, with its default, bounds and help.

A record of settings is a frozen dataclass with fields made by `whole`, `number`, `name`, `names`,
`seeds`, `text` and `texts`. The fields determine the checks (`check_settings`), the record's
documentation (`described`) and the options of the command line (`cli.options`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "LARGEST_SEED",
    "ConfigError",
    "Setting",
    "check_names",
    "check_settings",
    "described",
    "from_plain",
    "name",
    "names",
    "number",
    "read_settings",
    "seeds",
    "setting_of",
    "text",
    "texts",
    "whole",
]

T = TypeVar("T")
Check = Callable[[str, Any], None]

# The largest seed that torch takes.
LARGEST_SEED = 2**64 - 1
# More seeds, bases or models would be a mistake.
_LONGEST_LIST = 1000
_LONGEST_TEXT = 4096
_LONGEST_FILE = 1 << 18


class ConfigError(ValueError):
    """A setting is unknown or out of its range; the message names it."""


@dataclass(frozen=True)
class Setting:
    """The declaration of a field, in addition to its name, type and default.

    Attributes:
        help: a sentence or two.
        check: called with the setting's name and value; raises ConfigError for a wrong value.
        panel: heading in the command's help.
        kept: why a resumed run keeps its value; empty if it may change.
    """

    help: str
    check: Check
    panel: str = ""
    kept: str = ""


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """The declaration of a field."""
    declared = field.metadata["setting"]
    assert isinstance(declared, Setting)
    return declared


# ---- declarations ------------------------------------------------------------------


def whole(
    default: int | None, help: str, *, least: int, most: int, panel: str = "", kept: str = ""
) -> Any:
    """A whole number from `least` to `most`; None is allowed if it is the default."""

    def check(name: str, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least:
            raise ConfigError(f"{name}: expected a whole number from {least}, got {_shown(value)}")
        if value > most:
            raise ConfigError(
                f"{name}: expected a whole number from {least} to {most}, got {_shown(value)}"
            )

    return _field(default, help, check, panel, kept)


def number(
    default: float,
    help: str,
    *,
    most: float,
    least: float = 0.0,
    positive: bool = False,
    panel: str = "",
    kept: str = "",
) -> Any:
    """A finite number from `least` to `most`; not 0 itself where `positive`."""
    start = "a positive number" if positive and not least else f"a number from {least:g}"

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{name}: expected a number, got {_shown(value)}")
        if not value >= least or (positive and value == 0):
            raise ConfigError(f"{name}: expected {start}, got {_shown(value)}")
        if value > most:
            raise ConfigError(f"{name}: expected {start} up to {most:g}, got {_shown(value)}")

    return _field(default, help, check, panel, kept)


def name(
    default: str, help: str, choices: Collection[str], *, panel: str = "", kept: str = ""
) -> Any:
    """One of the `choices`."""
    return _field(
        default, help, lambda key, value: check_names(key, (value,), choices), panel, kept
    )


def names(default: tuple[str, ...], help: str, choices: Collection[str]) -> Any:
    """At least one of the `choices`, without repetition."""
    return _field(default, help, lambda key, value: check_names(key, value, choices))


def seeds(default: tuple[int, ...], help: str) -> Any:
    """At least one seed, without repetition."""
    return _field(default, help, _check_seeds)


def text(default: str | None, help: str, *, panel: str = "", kept: str = "") -> Any:
    """A line of text; None is allowed if it is the default."""
    return _field(default, help, _check_text, panel, kept)


def texts(default: tuple[str, ...], help: str) -> Any:
    """At least one line of text, without repetition."""

    def check(name: str, values: Any) -> None:
        if not isinstance(values, tuple) or not 0 < len(values) <= _LONGEST_LIST:
            raise ConfigError(f"{name}: expected a list of text, got {_shown(values)}")
        for value in values:
            _check_text(name, value)
        if len(set(values)) < len(values):
            raise ConfigError(f"{name}: expected different ones, got {_shown(values)}")

    return _field(default, help, check)


def _field(default: Any, help: str, check: Check, panel: str = "", kept: str = "") -> Any:
    def checked(name: str, value: Any) -> None:
        if value is not None or default is not None:
            check(name, value)

    declared = Setting(help, checked, panel, kept)
    return dataclasses.field(default=default, metadata={"setting": declared})


def _shown(value: object) -> str:
    """A value in a message, cut to a line: a file may hold anything."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (list, tuple, dict, set)):
        return f"a {type(value).__name__} of {len(value)}" if value else repr(value)
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{name}: expected text, got {_shown(value)}")
    if len(value) > _LONGEST_TEXT or not value.isprintable():
        raise ConfigError(
            f"{name}: expected a line of at most {_LONGEST_TEXT} characters, got {_shown(value)}"
        )


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
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected settings by name, got {_shown(values)}")
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(_shown(name).strip("'") for name in set(values) - known):
        shown = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        raise ConfigError(
            f"{source}: unknown setting {shown}; the settings are {', '.join(sorted(known))}"
        )
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**plain)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def read_settings(path: str | os.PathLike[str]) -> str:
    """The text of a file of settings.

    Raises:
        ConfigError: it cannot be read, is no text, or is longer than any settings are.
    """
    file = Path(path)
    try:
        # Not the whole of it: a path may lead to a device without an end.
        with file.open("rb") as stream:
            content = stream.read(_LONGEST_FILE + 1)
        if len(content) > _LONGEST_FILE:
            raise ConfigError(f"{path}: expected settings in at most {_LONGEST_FILE} bytes")
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: expected text ({error})") from error


def check_names(name: str, values: object, choices: Collection[str]) -> None:
    """Raise ConfigError if a list of names is empty, repeats a name, or has an unknown one.

    Example:
        >>> check_names("bases", ("normal", "vmf"), ["normal", "vmf"])
    """
    if not isinstance(values, tuple) or not values:
        raise ConfigError(f"{name}: expected a list, got {_shown(values)}")
    for value in values:
        # A list or a mapping of a file cannot be looked up.
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{name}: expected {' or '.join(choices)}, got {_shown(value)}")
    if len(set(values)) < len(values):
        raise ConfigError(f"{name}: expected different names, got {list(values)}")


def _check_seeds(name: str, chosen: Any) -> None:
    if not isinstance(chosen, tuple) or not chosen:
        raise ConfigError(f"{name}: expected a list, got {_shown(chosen)}")
    if len(chosen) > _LONGEST_LIST:
        raise ConfigError(f"{name}: expected at most {_LONGEST_LIST}, got {len(chosen)}")
    for value in chosen:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name}: expected whole numbers from 0, got {_shown(value)}")
        if value > LARGEST_SEED:
            raise ConfigError(
                f"{name}: expected whole numbers from 0 to {LARGEST_SEED}, got {_shown(value)}"
            )
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"{name}: expected different numbers, got {list(chosen)}")

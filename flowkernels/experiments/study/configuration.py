"""Reads the configuration of a study: YAML, bounded in size, depth and what its aliases repeat."""

from __future__ import annotations

import os
from typing import Any

from flowkernels.experiments.data.extras import require
from flowkernels.experiments.training.settings import ConfigError, read_settings

__all__ = ["read_yaml"]

_DEEPEST = 20
_MOST_VALUES = 100_000


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The plain values in a YAML file; nothing in it is executed.

    Raises:
        ConfigError: the file cannot be read, is not YAML, is nested more than 20 levels deep, or
            has more than 100,000 values, those counted that its aliases repeat.
    """
    yaml = require("yaml", extra="study", purpose="reading a study's configuration")
    text = read_settings(path)
    try:
        _check_depth(yaml, text, path)
        _count(yaml, yaml.compose(text, yaml.SafeLoader), {}, path)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML ({error})") from error
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        # A value that only looks like a date or a number.
        raise ConfigError(f"{path}: expected YAML ({error})") from error


def _check_depth(yaml: Any, text: str, path: str | os.PathLike[str]) -> None:
    """Raise if the values are nested too deeply; the reader of values would overflow the stack."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            line = event.start_mark.line + 1
            raise ConfigError(f"{path}: line {line}: expected at most {_DEEPEST} levels")


def _count(
    yaml: Any, node: Any, counted: dict[int, int | None], path: str | os.PathLike[str]
) -> int:
    """The number of values below a node, with every alias counted as what it repeats."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:
            raise ConfigError(f"{path}: an alias refers to the value that it is part of")
        return known
    counted[id(node)] = None
    parts = node.value
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    total = 1 + sum(_count(yaml, part, counted, path) for part in parts)
    if total > _MOST_VALUES:
        raise ConfigError(
            f"{path}: expected at most {_MOST_VALUES} values, its aliases repeat more"
        )
    counted[id(node)] = total
    return total

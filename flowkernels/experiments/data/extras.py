"""Optional dependencies, imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["MissingExtraError", "lazy", "require"]


class MissingExtraError(ImportError):
    """A package of an optional extra is not installed."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or raise an error that names the extra to install.

    Args:
        module: the dotted name to import.
        extra: the extra of flowkernels that installs it.
        purpose: what it is needed for; the start of the message.

    Raises:
        MissingExtraError: the module is not installed.

    Example:
        >>> require("json", extra="train", purpose="reading a run's configuration").__name__
        'json'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # The module is installed but its own import fails: raise that error.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {error.name!r}, which is not installed: "
            f"pip install 'flowkernels[{extra}]'"
        ) from error


def lazy(
    package: str, homes: Mapping[str, Sequence[str]], needs: Mapping[str, Sequence[str]]
) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that imports its public names on first use.

    Importing Lightning takes seconds; a command's help and configurations do not need it.

    Args:
        package: the module's name.
        homes: submodule -> the names that it defines.
        needs: submodule -> the packages of the extra ``train`` that it imports.

    Example:
        >>> find = lazy("json", {"decoder": ["JSONDecoder"]}, {})
        >>> find("JSONDecoder").__name__
        'JSONDecoder'
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = home_of[name]
        for module in needs.get(home, ()):
            require(module, extra="train", purpose=f"{package}.{name}")
        return getattr(import_module(f"{package}.{home}"), name)

    return find

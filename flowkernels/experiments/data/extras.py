"""Optional dependencies, imported when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["MissingExtraError", "lazy", "require"]


class MissingExtraError(ImportError):
    """A package that one of the extras would have installed is not there."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module`` or say which extra to install.

    Args:
        module: the dotted name to import.
        extra: the extra of flowkernels that installs it.
        purpose: what it is needed for; it begins the message.

    Raises:
        MissingExtraError: the module is not installed.

    Example:
        >>> require("json", extra="train", purpose="reading a run's configuration").__name__
        'json'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there but whose own import fails is another problem: let it be seen.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {error.name!r}, which is not installed: "
            f"pip install 'flowkernels[{extra}]'"
        ) from error


def lazy(
    package: str, homes: Mapping[str, Sequence[str]], needs: Mapping[str, Sequence[str]]
) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that imports its public names when they are asked for.

    Lightning takes seconds to import, which a command's help or a configuration need not wait for.

    Args:
        package: the module's name.
        homes: by submodule, the names that it gives.
        needs: by submodule, the packages of the extra ``train`` that it imports.

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

"""Optional dependencies, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["MissingExtraError", "require"]


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

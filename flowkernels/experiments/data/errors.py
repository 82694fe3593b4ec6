"""The errors of the data layer."""

from __future__ import annotations

__all__ = ["DamagedFileError", "DataError", "short"]


class DataError(ValueError):
    """A data set is missing, damaged or of the wrong kind.

    The message names the file, the expectation and the finding, and possibly a remedy. The
    command line prints it without a traceback.
    """


class DamagedFileError(DataError):
    """A file is damaged, or holds what this package does not write."""


def short(error: BaseException) -> str:
    r"""The first line of a reader's message, cut: it may quote the content of the file.

    Example:
        >>> short(ValueError("first\nsecond"))
        'first'
    """
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__

"""The errors of the data layer."""

from __future__ import annotations


class DataError(ValueError):
    """A data set is missing, damaged or not what its name promises.

    The message names the file, what was expected and what was found, and where it helps, what to
    do about it. The command line prints it without a traceback.
    """

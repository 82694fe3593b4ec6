"""The errors of the data layer."""

from __future__ import annotations


class DataError(ValueError):
    """A data set is missing, damaged or of the wrong kind.

    The message names the file, the expectation and the finding, and possibly a remedy. The
    command line prints it without a traceback.
    """


class DamagedFileError(DataError):
    """A file is damaged, or holds what this package does not write."""

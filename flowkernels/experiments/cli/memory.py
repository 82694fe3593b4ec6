"""Makes glibc keep freed memory."""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

# Parameters of mallopt in malloc.h. Blocks above the mmap threshold always come from mmap; glibc
# limits that threshold to 32 MiB.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_TRIM, _LARGEST_MMAP = 2**31 - 1, 32 << 20
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Make glibc's malloc keep freed memory in this process.

    A training step frees the activations that the next step allocates. glibc may return this
    memory to the system in between, and the next step then takes a page fault for every 4 KiB.
    Settings in the environment take precedence.

    Returns:
        Whether glibc accepted the settings.

    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_TRIM_THRESHOLD, _LARGEST_TRIM), (_MMAP_THRESHOLD, _LARGEST_MMAP))
    return all(mallopt(name, value) == 1 for name, value in settings)

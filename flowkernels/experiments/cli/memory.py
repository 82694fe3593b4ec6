"""What becomes of memory that a command has freed."""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

# malloc.h; a block above the second is always the system's own, and this is glibc's limit for it.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_TRIM, _LARGEST_MMAP = 2**31 - 1, 32 << 20
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep what is freed for what is allocated next, in this process, where its malloc is glibc's.

    A training step frees the activations that the next one allocates. glibc may give them back to
    the system in between, by rules that depend on what was freed before, and the next step then
    takes a page fault for every 4 KiB. Settings in the environment are left alone.

    Returns:
        Whether glibc took the settings.

    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_TRIM_THRESHOLD, _LARGEST_TRIM), (_MMAP_THRESHOLD, _LARGEST_MMAP))
    return all(mallopt(name, value) == 1 for name, value in settings)

"""The lock of a run's folder: only one training writes to it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowkernels.experiments.data.files import naming, open_lock
from flowkernels.experiments.training.errors import RunError

__all__ = ["training_lock"]

log = logging.getLogger(__name__)

_NAME = ".training.lock"


@contextlib.contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """A context in which no other training may write to ``folder``.

    The lock belongs to the process: the operating system releases it when the process dies, so
    no lock is ever stale. The file names its holder and is removed at the end. On a shared file
    system it holds between machines if the file system supports ``flock``; where a file system
    has no locks, a warning says so and training continues.

    Args:
        folder: of the run, created if missing.

    Raises:
        RunError: another process trains in this folder; the message names it.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with training_lock(folder), training_lock(folder):  # doctest: +ELLIPSIS
        ...     pass
        Traceback (most recent call last):
        ...
        flowkernels...RunError: ...: another training is running in this folder: process ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    lock = _take(path)
    try:
        _name_holder(lock)
        yield
    finally:
        # Removed while it is held. A process that opened the file before this moment finds, after
        # its own lock, that the file is no longer there (`_take`).
        with contextlib.suppress(OSError):
            if _still_named(lock, path):
                path.unlink()
        os.close(lock)


def _take(path: Path) -> int:
    """The locked file, as an open descriptor."""
    while True:
        with naming(path):
            lock = open_lock(path)
        try:
            _lock(lock)
        except BlockingIOError:
            holder = _holder(lock)
            os.close(lock)
            raise RunError(
                f"{path.parent}: another training is running in this folder: {holder}. Wait for "
                "it, stop it, or choose another folder"
            ) from None
        except OSError as error:
            log.warning(
                "%s: the file system has no locks (%s); nothing prevents a second training in "
                "this folder",
                path.parent,
                error.strerror,
            )
            return lock
        if _still_named(lock, path):
            return lock
        os.close(lock)


def _lock(file: int) -> None:
    """Lock an open file or raise: BlockingIOError if another process has it."""
    try:
        import fcntl
    except ImportError:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _still_named(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _name_holder(lock: int) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": now.isoformat(timespec="seconds"),
    }
    os.ftruncate(lock, 0)
    # Without room on the disk the lock holds, too; it only names nobody.
    with contextlib.suppress(OSError):
        os.pwrite(lock, json.dumps(holder).encode(), 0)


def _holder(lock: int) -> str:
    try:
        holder: Any = json.loads(os.pread(lock, 4096, 0))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, TypeError, KeyError):
        return "a process that is just starting"

"""The cache folder of data sets, and atomic writing of files."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = [
    "atomic_write",
    "cache_dir",
    "naming",
    "open_lock",
    "sweep_unfinished",
    "write_bytes",
    "write_json",
    "write_text",
]

_SUFFIX = ".unfinished"
# Without O_NOFOLLOW, a link would let a lock create a file anywhere. Windows has neither of the
# last two.
_LOCK = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def cache_dir() -> Path:
    """The cache folder: ``$FLOWKERNELS_CACHE``, else ``flowkernels`` under the user's cache.

    Example:
        >>> import os
        >>> os.environ["FLOWKERNELS_CACHE"] = "/tmp/elsewhere"
        >>> str(cache_dir())
        '/tmp/elsewhere'
        >>> del os.environ["FLOWKERNELS_CACHE"]
    """
    if chosen := os.environ.get("FLOWKERNELS_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "flowkernels"


def open_lock(path: Path) -> int:
    """The descriptor of a file to lock, which is created if it is missing.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    return os.open(path, _LOCK, 0o666)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which an OSError that names no file, or a temporary one, names ``path``.

    The error of a full disk names none.

    Example:
        >>> with naming("runs/first/metrics.csv"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        OSError: [Errno 28] No space left on device: 'runs/first/metrics.csv'
    """
    try:
        yield
    except OSError as error:
        named = error.filename is not None and not str(error.filename).endswith(_SUFFIX)
        if named or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write ``path`` atomically: if the process is killed, the old file remains.

    The bytes are written to a temporary file in the same folder (a rename is atomic only within a
    file system) and synced to disk; then the file is renamed.

    Args:
        path: the file to write; its folder is created if missing.

    Raises:
        OSError: the file cannot be written; the error names ``path``.

    Example:
        >>> import pathlib, tempfile
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "made" / "note.txt"
        >>> with atomic_write(target) as file:
        ...     _ = file.write(b"whole")
        >>> target.read_bytes()
        b'whole'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming(target):
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=_SUFFIX, dir=target.parent
        )
        unfinished = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # mkstemp creates private files; apply the user's umask instead.
            umask = os.umask(0)
            os.umask(umask)
            unfinished.chmod(0o666 & ~umask)
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def write_bytes(path: str | os.PathLike[str], content: bytes | bytearray) -> Path:
    """Write a file atomically."""
    with atomic_write(path) as file:
        file.write(content)
    return Path(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file atomically."""
    return write_bytes(path, (text.rstrip() + "\n").encode())


def write_json(path: str | os.PathLike[str], value: Any, indent: int = 2) -> Path:
    """Write plain values as JSON, atomically."""
    return write_text(path, json.dumps(value, indent=indent))


def sweep_unfinished(folder: str | os.PathLike[str], name: str = "*") -> int:
    """Remove temporary files that killed processes left in ``folder``; returns their number.

    Args:
        folder: where they are.
        name: of the files that they were to become; a pattern.

    Example:
        >>> sweep_unfinished("/nowhere/at/all")
        0
    """
    leftovers = list(Path(folder).glob(f".{name}.*{_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)

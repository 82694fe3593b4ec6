"""A stream of bytes cut into files of a bounded size, which are named by number and content."""

from __future__ import annotations

import hashlib
import io
import re
import stat
from pathlib import Path
from typing import IO, Any

from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.data.files import write_bytes

__all__ = ["Cutter", "Entries", "JoinedParts", "entries_in", "index_of", "part_files", "part_name"]

# SHA-256 and size of each part, in order.
Entries = list[tuple[str, int]]

# The only key of an index.
_KEY = "flowkernels parts"
_NAME = re.compile(r"\d{5,}-[0-9a-f]{32}\.part")
_CHUNK = 1 << 20


def part_name(number: int, sha256: str) -> str:
    """The name of a part; its number keeps equal parts of one stream apart.

    Example:
        >>> part_name(3, "0123456789abcdef" * 4)
        '00003-0123456789abcdef0123456789abcdef.part'
    """
    return f"{number:05d}-{sha256[:32]}.part"


def part_files(folder: Path) -> list[Path]:
    """The parts in a folder, of whatever stream."""
    return [path for path in folder.glob("*.part") if _NAME.fullmatch(path.name)]


def index_of(entries: Entries) -> dict[str, Any]:
    """The content of the file that stands for the whole stream."""
    return {_KEY: [list(entry) for entry in entries]}


def entries_in(name: Path, value: Any) -> Entries | None:
    """The entries of an index; None if `value`, the content of the file `name`, is none.

    Raises:
        DamagedFileError: it is an index with wrong entries.
    """
    if not isinstance(value, dict) or list(value) != [_KEY]:
        return None
    entries: Entries = []
    listed = value[_KEY]
    for entry in listed if isinstance(listed, list) else [None]:
        sha256, size = entry if isinstance(entry, list) and len(entry) == 2 else ("", 0)
        known = isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)
        if not known or type(size) is not int or size < 1:
            raise DamagedFileError(f"{name}: damaged, its list of parts is wrong")
        entries.append((sha256, size))
    return entries


class Cutter:
    """Cuts what is written to it into parts of at most `most` bytes; holds one in memory.

    Args:
        folder: of the parts.
        most: bytes of a part.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> cutter = Cutter(folder, 4)
        >>> cutter.write(b"tensors")
        7
        >>> entries = cutter.finish()
        >>> [size for _, size in entries]
        [4, 3]
        >>> JoinedParts(folder / "index", entries).read()
        b'tensors'
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder = folder
        self.most = most
        self.rest = bytearray()
        self.error: OSError | None = None
        self._entries: Entries = []

    @property
    def is_cut(self) -> bool:
        """Whether there is more than one part."""
        return bool(self._entries)

    def write(self, data: bytes) -> int:
        """Add to the stream; writes each part once there is more."""
        left = memoryview(data)
        while left:
            if len(self.rest) == self.most:
                self._write_part()
            room = self.most - len(self.rest)
            self.rest += left[:room]
            left = left[room:]
        return len(data)

    def flush(self) -> None:
        """Nothing: a part is written whole."""

    def finish(self) -> Entries:
        """Write the last part; the entries of all."""
        self._write_part()
        return self._entries

    def _write_part(self) -> None:
        sha256 = hashlib.sha256(self.rest).hexdigest()
        target = self.folder / part_name(len(self._entries), sha256)
        try:
            # Another stream in the folder may have the same part.
            if not (target.is_file() and target.read_bytes() == self.rest):
                write_bytes(target, self.rest)
        except OSError as error:
            self.error = error
            raise
        self._entries.append((sha256, len(self.rest)))
        self.rest = bytearray()


class JoinedParts(io.BufferedReader):
    """The stream of parts, for reading; each part is verified first.

    Args:
        index: the file that lists them; they are beside it.
        entries: what it lists.

    Raises:
        OSError: a part cannot be read.
        DamagedFileError: a part is missing or damaged; the message names it.
    """

    def __init__(self, index: Path, entries: Entries) -> None:
        files = []
        for number, (sha256, size) in enumerate(entries):
            file = index.parent / part_name(number, sha256)
            _verify(index, file, sha256, size)
            files.append((file, size))
        super().__init__(_Joined(files), _CHUNK)


def _verify(index: Path, file: Path, sha256: str, size: int) -> None:
    try:
        found = file.stat()
        # Not opened before: a pipe would wait for its other end.
        whole = stat.S_ISREG(found.st_mode) and found.st_size == size
        digest = hashlib.sha256()
        if whole:
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
    except FileNotFoundError as error:
        raise DamagedFileError(f"{index}: damaged, its part {file} is missing") from error
    if not whole or digest.hexdigest() != sha256:
        raise DamagedFileError(
            f"{index}: damaged, the content of its part {file} does not match its checksum"
        )


class _Joined(io.RawIOBase):
    """Files one behind the other; one of them is open at a time."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        self._files = files
        self._size = sum(size for _, size in files)
        self._at = 0
        self._open: tuple[int, IO[bytes]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, within = 0, self._at
        while number < len(self._files) and within >= self._files[number][1]:
            within -= self._files[number][1]
            number += 1
        if number == len(self._files):
            return 0
        file = self._file(number)
        file.seek(within)
        count: int = file.readinto(buffer)  # type: ignore[attr-defined]
        self._at += count
        return count

    def _file(self, number: int) -> IO[bytes]:
        if self._open is None or self._open[0] != number:
            self._close()
            self._open = number, self._files[number][0].open("rb", buffering=0)
        return self._open[1]

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def close(self) -> None:
        self._close()
        super().close()

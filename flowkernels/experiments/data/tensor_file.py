"""Files of tensors with a checksum: torch's format, written atomically, verified before loading.

The checksum is the zip archive's comment, so that it moves, links and copies with the file, and
any version of torch reads the file. It is the SHA-256 of the archive as it is without the comment.

Where the size of a file is bounded, a larger archive is cut into parts (`parts`), and the file is
an index: a file of tensors, too, with a checksum of its own, that lists the parts beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickletools
import stat
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from flowkernels.experiments.data.errors import DamagedFileError, short
from flowkernels.experiments.data.files import atomic_write
from flowkernels.experiments.data.parts import (
    Cutter,
    Entries,
    JoinedParts,
    entries_in,
    index_of,
    part_files,
    part_name,
)

__all__ = ["load_tensors", "save_tensors", "sweep_parts"]

log = logging.getLogger(__name__)

_TAG = b"flowkernels sha256 "
_COMMENT = len(_TAG) + 64
# The record that ends a zip archive: its signature, and its length without the comment. The
# last two bytes are the length of the comment.
_END, _END_SIZE = b"PK\x05\x06", 22
_CHUNK = 1 << 20
# The values that are not tensors; those of a flow of a thousand steps take a few megabytes.
_MOST_PLAIN = 16 << 20
# An index has nothing else.
_LARGEST_INDEX = _MOST_PLAIN + (1 << 16)
# What tensors, numbers, texts, lists and dictionaries need.
_HARMLESS = {
    "collections OrderedDict",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch.storage UntypedStorage",
}
_CODE = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


class _Hashing:
    """Writes to a file and hashes what it writes; keeps the error that torch.save replaces."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes | bytearray) -> int:
        try:
            written = self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return written

    def flush(self) -> None:
        self.file.flush()


def save_tensors(path: str | os.PathLike[str], value: Any, *, most: int | None = None) -> None:
    """Write tensors and plain values to ``path`` with a checksum, atomically.

    Args:
        path: the file.
        value: tensors, numbers, texts, lists and dictionaries.
        most: the largest number of bytes of a file. What is larger is written to parts beside
            ``path``, then ``path`` as their index: at every moment it stands for whole parts. The
            parts of the former index remain until :func:`sweep_parts`.

    Raises:
        OSError: the file cannot be written; the error names it.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "numbers.pt"
        >>> save_tensors(file, {"a": torch.arange(3)})
        >>> load_tensors(file)
        {'a': tensor([0, 1, 2])}
    """
    content: bytearray | None = None
    if most is not None:
        cutter = Cutter(Path(path).parent, most - _COMMENT)
        _save(value, cutter)
        if cutter.is_cut:
            value = index_of(cutter.finish())
        else:
            content = cutter.rest
    with atomic_write(path) as file:
        hashing = _Hashing(file)
        if content is None:
            _save(value, hashing)
        else:
            hashing.write(content)
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", _COMMENT) + _TAG + hashing.digest.hexdigest().encode())


def _save(value: Any, file: _Hashing | Cutter) -> None:
    """torch.save, with the error of the file."""
    try:
        torch.save(value, file)  # type: ignore[arg-type]
    except Exception as error:
        if file.error is None:
            raise
        raise file.error from error


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """Read a file of :func:`save_tensors`, onto the CPU; nothing in it is executed.

    A file of another version without a checksum is read too, and the log says so; the archive's
    own CRCs are verified instead. Memory is bounded by the size of the file and its parts.

    Raises:
        OSError: the file cannot be read.
        DamagedFileError: it or a part of it is damaged or missing, of another kind, or holds code;
            the message names it.
    """
    name = Path(path)
    while True:
        before = name.stat()
        value, checked = _load_one(name)
        if not checked:
            log.warning(
                "%s has no checksum (an older version wrote it); the CRCs of its records match",
                name,
            )
        if (entries := entries_in(name, value)) is None:
            return value
        try:
            with JoinedParts(name, entries) as joined:
                return _read(name, joined, checked=True)
        except DamagedFileError:
            # Training may have replaced the file, and swept its parts, since it was opened.
            after = name.stat()
            if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
                raise


def sweep_parts(folder: str | os.PathLike[str]) -> int:
    """Remove the parts in ``folder`` to which no file there refers; returns their number.

    Nothing is removed if a file cannot be read. What is damaged refers to nothing.

    Example:
        >>> sweep_parts("/nowhere/at/all")
        0
    """
    unused = {path.name: path for path in part_files(Path(folder))}
    if not unused:
        return 0
    for file in Path(folder).iterdir():
        try:
            for number, (sha256, _) in enumerate(_listed(file)):
                unused.pop(part_name(number, sha256), None)
        except DamagedFileError:
            continue
        except OSError:
            return 0
    for path in unused.values():
        path.unlink(missing_ok=True)
    return len(unused)


def _listed(file: Path) -> Entries:
    """The entries of an index; none of another file."""
    if file.suffix == ".part" or not file.is_file() or file.stat().st_size > _LARGEST_INDEX:
        return []
    return entries_in(file, _load_one(file)[0]) or []


def _load_one(name: Path) -> tuple[Any, bool]:
    """The content of one file, and whether it has a checksum."""
    with name.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DamagedFileError(f"{name}: expected a file")
        checked = _verify_checksum(name, file)
        return _read(name, file, checked=checked), checked


def _read(name: Path, file: IO[bytes], *, checked: bool) -> Any:
    """The content of an archive whose checksum was verified, if it has one."""
    _verify_archive(name, file, checked)
    file.seek(0)
    try:
        value = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a crafted file can make the reader raise anything
        raise DamagedFileError(f"{name}: damaged, torch cannot read it ({short(error)})") from error
    _verify_extents(name, value)
    return value


def _verify_checksum(name: Path, file: IO[bytes]) -> bool:
    """Whether the file has a checksum; raises if it is wrong or the end of the file is missing."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise DamagedFileError(f"{name}: damaged, the file is empty")
    if file.read(4) != b"PK\x03\x04":
        raise DamagedFileError(f"{name}: damaged or no file of tensors, its first bytes are wrong")
    end = _tail(file, size, _END_SIZE + _COMMENT)
    if end[:4] == _END and end[20:] == struct.pack("<H", _COMMENT) + _TAG + end[-64:]:
        file.seek(0)
        digest, left = hashlib.sha256(), size - _COMMENT - 2
        while left and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        digest.update(b"\0\0")
        if digest.hexdigest().encode() != end[-64:]:
            raise DamagedFileError(f"{name}: damaged, its content does not match its checksum")
        return True
    end = end[-_END_SIZE:]
    if end[:4] == _END and end[-2:] == b"\0\0":
        return False
    raise DamagedFileError(f"{name}: damaged, its end is missing or overwritten ({size} bytes)")


def _tail(file: IO[bytes], size: int, count: int) -> bytes:
    file.seek(max(0, size - count))
    return file.read(count)


def _verify_archive(name: Path, file: IO[bytes], checked: bool) -> None:
    """Raise unless the records are stored without compression and the plain values are harmless."""
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            packed = [r.filename for r in records if r.compress_type != zipfile.ZIP_STORED]
            if packed or sum(record.file_size for record in records) > size:
                raise DamagedFileError(
                    f"{name}: refused, its records unpack to more than the file holds"
                )
            if not checked:
                _verify_crcs(name, archive)
            plain = [record for record in records if record.filename.endswith("/data.pkl")]
            if len(plain) != 1 or plain[0].file_size > _MOST_PLAIN:
                raise DamagedFileError(
                    f"{name}: damaged or no file of tensors, expected one record data.pkl of at "
                    f"most {_MOST_PLAIN} bytes"
                )
            code = _code_in(archive.read(plain[0]))
    except DamagedFileError:
        raise
    except Exception as error:  # a crafted file can make the reader raise anything
        raise DamagedFileError(
            f"{name}: damaged, its records cannot be read ({short(error)})"
        ) from error
    if code is not None:
        raise DamagedFileError(
            f"{name}: refused, it holds code ({code}). The code was not run. This package writes "
            "only tensors, numbers and texts; do not trust the source of this file"
        )


def _verify_crcs(name: Path, archive: zipfile.ZipFile) -> None:
    if (bad := archive.testzip()) is not None:
        raise DamagedFileError(f"{name}: damaged, the CRC of its record {bad} does not match")


def _code_in(pickled: bytes) -> str | None:
    """The first class or function in a pickle that tensors and plain values do not need."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            of_torch = module == "torch" and (
                attribute.endswith("Storage")
                or isinstance(getattr(torch, attribute, None), torch.dtype)
            )
            if argument not in _HARMLESS and not of_torch:
                return f"{module}.{attribute}"
        elif opcode.name in _CODE:
            named = str(argument).replace(" ", ".") if argument else ".".join(texts[-2:])
            return named or opcode.name
        elif isinstance(argument, str):
            texts = [*texts[-1:], argument[:80]]
    return None


def _verify_extents(name: Path, value: Any) -> None:
    """Raise if a tensor claims more elements than its storage has, by strides of 0."""
    seen, left = set(), [value]
    while left:
        item = left.pop()
        if isinstance(item, torch.Tensor):
            if item.numel() * item.element_size() > item.untyped_storage().nbytes():
                raise DamagedFileError(
                    f"{name}: refused, a tensor of shape {tuple(item.shape)} exceeds its data"
                )
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            left.extend(item.values() if isinstance(item, dict) else item)

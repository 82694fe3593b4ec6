"""Crafted checkpoints; the docstring of each is what its error must say."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.data.tensor_file import load_tensors, save_tensors
from flowkernels.experiments.training import Run

CASES: list[Callable[[Path], Callable[[], object]]] = []
Action = Callable[[], object]


def case(build: Callable[[Path], Action]) -> Callable[[Path], Action]:
    """Adds a case to the list."""
    CASES.append(build)
    return build


def archive(path: Path, pickled: bytes, *, packed: bool = False, **records: bytes) -> None:
    """A file like torch's, with any pickle."""
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in {"version": b"3\n", "byteorder": b"little", **records}.items():
            file.writestr(f"archive/{name}", content)


def reading(place: Path) -> Action:
    """Read the best checkpoint, as every command does."""
    return lambda: Run(place / "run").load_flow("best")


def best(place: Path) -> Path:
    return Run(place / "run").best


class _Calls:
    """Pickled, it calls a function when loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@case
def command_in_a_pickle(place: Path) -> Action:
    r"""best\.ckpt: refused, it holds code \(posix\.system\)\. The code was not run"""
    torch.save(_Calls(os.system, f"touch {place}/executed"), best(place))
    return reading(place)


@case
def command_in_a_newer_pickle(place: Path) -> Action:
    r"""best\.ckpt: refused, it holds code \(posix\.system\)"""
    call = _Calls(os.system, f"touch {place}/executed")
    archive(best(place), pickle.dumps({"state_dict": call}, protocol=5))
    return reading(place)


@case
def command_with_a_checksum(place: Path) -> Action:
    r"""last\.ckpt: refused, it holds code \(posix\.system\)"""
    save_tensors(Run(place / "run").last, _Calls(os.system, f"touch {place}/executed"))
    return lambda: Run(place / "run").load_flow("last")


@case
def command_in_a_bare_pickle(place: Path) -> Action:
    r"""best\.ckpt: damaged or no file of tensors, its first bytes are wrong"""
    best(place).write_bytes(pickle.dumps(_Calls(os.system, f"touch {place}/executed")))
    return reading(place)


@case
def expression_in_a_pickle(place: Path) -> Action:
    r"""best\.ckpt: refused, it holds code \((builtins|__builtin__)\.eval\)"""
    torch.save(_Calls(eval, f"open('{place}/executed', 'w')"), best(place))
    return reading(place)


@case
def memory_taken_by_an_allowed_function(place: Path) -> Action:
    r"""best\.ckpt: refused, it holds code \((builtins|__builtin__)\.bytearray\)"""
    torch.save(_Calls(bytearray, 1 << 36), best(place))
    return reading(place)


@case
def huge_memo_index(place: Path) -> Action:
    r"""best\.ckpt: (damaged|expected)"""
    archive(best(place), b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".")
    return reading(place)


@case
def huge_text_length(place: Path) -> Action:
    r"""best\.ckpt: damaged"""
    archive(best(place), b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.")
    return reading(place)


@case
def nested_lists(place: Path) -> Action:
    r"""best\.ckpt: expected a checkpoint, found a file of list"""
    archive(best(place), b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    return reading(place)


@case
def packed_pickle(place: Path) -> Action:
    r"""best\.ckpt: refused, its records unpack to more than the file holds"""
    archive(best(place), b"\x80\x02]" + b"0]" * (1 << 25) + b".", packed=True)
    return reading(place)


@case
def packed_tensor(place: Path) -> Action:
    r"""best\.ckpt: refused, its records unpack to more than the file holds"""
    zeros = {"data/0": bytes(1 << 28)}
    archive(best(place), b"\x80\x02}.", packed=True, **zeros)
    return reading(place)


@case
def large_pickle(place: Path) -> Action:
    r"""best\.ckpt: damaged or no file of tensors, expected one record data\.pkl"""
    archive(best(place), b"\x80\x02]" + b"0]" * (1 << 25) + b".")
    return reading(place)


@case
def overlapping_records(place: Path) -> Action:
    r"""best\.ckpt: (refused, its records unpack to more|damaged)"""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
        file.writestr("archive/data/0", bytes(1 << 20))
        (record,) = file.infolist()[1:]
        for number in range(1, 4000):
            copy = zipfile.ZipInfo(f"archive/data/{number}")
            for name in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(copy, name, getattr(record, name))
            file.filelist.append(copy)
    best(place).write_bytes(buffer.getvalue())
    return reading(place)


@case
def tensor_of_repeated_elements(place: Path) -> Action:
    r"""best\.ckpt: refused, a tensor of shape \(1000000000000,\) exceeds its data"""
    state = load_tensors(best(place))
    state["state_dict"]["flow.x"] = torch.zeros(1).expand(10**12)
    save_tensors(best(place), state)
    return reading(place)


@case
def storage_shorter_than_its_tensor(place: Path) -> Action:
    r"""best\.ckpt: damaged"""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(16.0)}, buffer)
    with zipfile.ZipFile(buffer) as file:
        pickled = file.read("archive/data.pkl")
    claimed = pickled.replace(b"K\x10", b"J\x00\x00\x10\x00")
    archive(best(place), claimed, **{"data/0": bytes(64)})
    return reading(place)


@case
def huge_event_shape(place: Path) -> Action:
    r"""best\.ckpt: event_shape: expected \(C, H, W\)"""
    save_tensors(best(place), {**load_tensors(best(place)), "event_shape": [1, 10**9, 10**9]})
    return reading(place)


@case
def other_event_shape(place: Path) -> Action:
    r"""best\.ckpt: the weights do not fit"""
    save_tensors(best(place), {**load_tensors(best(place)), "event_shape": [1, 4096, 4096]})
    return reading(place)


@case
def many_channels(place: Path) -> Action:
    r"""best\.ckpt: the weights do not fit"""
    save_tensors(best(place), {**load_tensors(best(place)), "event_shape": [1 << 18, 8, 8]})
    return reading(place)


@case
def device_without_an_end(place: Path) -> Action:
    r"""(best|last|previous)\.ckpt: expected a file|expected a checkpoint \(best\), found none"""
    for path in Run(place / "run").known.values():
        path.unlink()
        path.symlink_to("/dev/zero")
    return reading(place)


@case
def resumed_from_hostile_checkpoints(place: Path) -> Action:
    r"""last\.ckpt: refused, it holds code .*previous\.ckpt: .*No checkpoint .* can be read"""
    from .runs import SETTINGS, train

    for path in Run(place / "run").known.values():
        torch.save(_Calls(os.system, f"touch {place}/executed"), path)
    return lambda: train(place / "run", SETTINGS)

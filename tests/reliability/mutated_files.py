"""Valid files of every kind, damaged at random: they load or give an error that names them."""

from __future__ import annotations

import gzip
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml

from flowkernels.experiments.data.cifar import read_cifar_batch
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.idx import read_idx
from flowkernels.experiments.data.tables import load_table
from flowkernels.experiments.data.tensor_file import load_tensors, save_tensors
from flowkernels.experiments.study import load_study
from flowkernels.experiments.study.study import CONFIGS
from flowkernels.experiments.training import ConfigError, RunConfig, RunError

from .campaign import Outcome
from .runs import forget_peak, in_child, resident

_KNOWN = (DataError, ConfigError, RunError, OSError)
_MOST_MEMORY = 256 << 20
# The ends of names of files with a checksum.
_CHECKED = ("sums.ckpt", "cut.ckpt", ".part")
# What a mutated text may become, as well as any other bytes.
_WORDS = (b"null", b"[]", b"{}", b"-1", b"1e999", b"9" * 40, b"\0", b"\xff", b'"', b"*a", b": ")


def run(outcome: Outcome, folder: Path, count: int, seed: int) -> None:
    """`count` mutations of each kind; with a checksum every one of them is noticed."""
    kinds = _kinds(folder)
    refused: dict[str, str] = {}
    for name, read in kinds.items():
        ended = in_child(
            lambda name=name, read=read: _mutations(folder / name, read, count, seed),  # type: ignore[misc]
            patience=1200,
        )
        if ended.code or ended.said is None:
            outcome.findings.append(f"{name}: the process ended with {ended.code}: {ended.said}")
            continue
        results, problems, memory = ended.said
        refused[name] = f"{results['refused']} of {count} refused"
        outcome.findings.extend(f"{name}: {problem}" for problem in problems)
        if memory > _MOST_MEMORY:
            outcome.findings.append(f"{name}: took {memory / 2**20:.0f} MiB")
        if name.endswith(_CHECKED) and results["loaded"]:
            outcome.findings.append(f"{name}: {results['loaded']} damaged files loaded in silence")
    outcome.figures["damaged at random"] = refused


def _kinds(folder: Path) -> dict[str, Callable[[Path], object]]:
    """Writes a valid file of each kind; its name and what reads it."""
    chance = torch.Generator().manual_seed(0)
    values = {"w": torch.randn(8, 5, generator=chance), "step": 3, "names": ["a", "b"]}
    save_tensors(folder / "sums.ckpt", values)
    save_tensors(folder / "cut.ckpt", values, most=800)
    part = min(path.name for path in folder.glob("*.part"))
    torch.save(values, folder / "older.ckpt")
    RunConfig().save(folder / "config.json")
    (folder / "images.yaml").write_bytes((CONFIGS / "fashion_mnist.yaml").read_bytes())
    plain = yaml.safe_load((CONFIGS / "densities.yaml").read_text())
    (folder / "densities.yaml").write_text(yaml.safe_dump(plain))
    pixels = bytes(range(256)) * 3
    idx = struct.pack(">4B3I", 0, 0, 8, 3, 12, 8, 8) + pixels
    (folder / "images-idx3").write_bytes(idx)
    (folder / "images-idx3.gz").write_bytes(gzip.compress(idx))
    (folder / "batch.bin").write_bytes((b"\3" + pixels * 4) * 3)
    table = torch.randn(40, 3, generator=chance).double().numpy()
    np.savetxt(folder / "rows.csv", table, delimiter=",", header="a,b,c", comments="")
    np.save(folder / "rows.npy", table)
    np.savez(folder / "rows.npz", train=table, val=table, test=table)
    np.savez_compressed(folder / "packed.npz", data=table)
    return {
        "sums.ckpt": load_tensors,
        "cut.ckpt": load_tensors,
        part: lambda _: load_tensors(folder / "cut.ckpt"),
        "older.ckpt": load_tensors,
        "config.json": RunConfig.load,
        "images.yaml": load_study,
        "densities.yaml": load_study,
        "images-idx3": lambda path: read_idx(path, ndim=3),
        "images-idx3.gz": lambda path: read_idx(path, ndim=3),
        "batch.bin": read_cifar_batch,
        "rows.csv": load_table,
        "rows.npy": load_table,
        "rows.npz": load_table,
        "packed.npz": load_table,
    }


def _mutations(
    path: Path, read: Callable[[Path], object], count: int, seed: int
) -> tuple[Counter[str], list[str], int]:
    """What became of each mutation: counts, what is wrong, and the memory that was taken."""
    import logging

    logging.disable()  # older checkpoints say that they have no checksum
    chance = random.Random(f"{path.name} {seed}")
    whole = path.read_bytes()
    read(path)
    results: Counter[str] = Counter()
    problems: list[str] = []
    forget_peak()
    before = resident("VmRSS")
    for number in range(count):
        changed = mutated(whole, chance)
        if changed == whole:
            changed += b"\0"
        path.write_bytes(changed)
        try:
            read(path)
            results["loaded"] += 1
        except _KNOWN as error:
            results["refused"] += 1
            if str(path) not in str(error) or len(str(error)) > 2000:
                problems.append(f"mutation {number} (seed {seed}): {str(error)[:200]}")
        except BaseException as error:
            problems.append(
                f"mutation {number} (seed {seed}): {type(error).__name__}: {str(error)[:200]}"
            )
    path.write_bytes(whole)
    return results, problems[:20], resident("VmHWM") - before


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """Bytes with one to four changes."""
    content = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(max(1, len(content)))
        until = min(len(content), at + chance.choice((1, 2, 4, 8, 64)))
        kind = chance.randrange(7)
        if kind == 0 and content:
            content[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            content[at:until] = chance.randbytes(until - at)
        elif kind == 2:
            del content[at:until]
        elif kind == 3:
            content[at:at] = content[chance.randrange(max(1, len(content))) :][: until - at]
        elif kind == 4:
            content[at:until] = chance.choice(_WORDS)
        elif kind == 5:
            content[at:until] = bytes([chance.choice((0, 255))]) * (until - at)
        else:
            del content[at:]
    return bytes(content)

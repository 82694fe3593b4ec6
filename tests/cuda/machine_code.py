"""Reads the machine code of compiled kernels: how many accesses of memory, and how wide.

The disassembler comes with the CUDA toolkit, and also with Triton's package.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .kernels import toolkit

# Global memory, global to shared, shared, local, and where the address alone tells which.
ACCESSES = ("LDG", "STG", "LDGSTS", "LDS", "STS", "LDL", "STL", "LD", "ST")
WIDE = 128

_SECTION = re.compile(r"^\s*\.section\s+\.text\.([^\s,]+)")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+\{?\s*(?:@!?U?PT?\w*\s+)?([A-Z]\w*(?:\.\w+)*)")
_BITS = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}


@dataclass
class Code:
    """What one kernel's instructions are."""

    instructions: int = 0
    # Accesses by opcode, then by bits: {"LDG": {128: 3, 32: 1}}.
    accesses: dict[str, dict[int, int]] = field(default_factory=dict)
    float64: int = 0
    special: int = 0  # by the unit for reciprocals, roots, exponentials, ...

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Code:
        """From what `asdict` and JSON have made of it."""
        counts = {o: {int(b): n for b, n in c.items()} for o, c in stored["accesses"].items()}
        return cls(**{**stored, "accesses": counts})

    def wide(self, opcode: str) -> int:
        """How many accesses move 16 bytes or more."""
        return sum(n for bits, n in self.accesses.get(opcode, {}).items() if bits >= WIDE)

    def narrow(self, opcode: str) -> int:
        """How many move less."""
        return sum(n for bits, n in self.accesses.get(opcode, {}).items() if bits < WIDE)

    def by_width(self, opcode: str) -> str:
        """``128x3 32x1``."""
        counts = self.accesses.get(opcode, {})
        return " ".join(f"{bits}x{counts[bits]}" for bits in sorted(counts, reverse=True)) or "-"


def bits_of(opcode: str) -> int:
    """The width of an access for one thread: 128 for ``LDG.E.128.CONSTANT``."""
    for part in opcode.split(".")[1:]:
        if part in _BITS:
            return _BITS[part]
    return 32


def parse(listing: str) -> dict[str, Code]:
    """The kernels of a disassembler's listing, by their mangled names."""
    kernels: dict[str, Code] = {}
    code = Code()
    for line in listing.splitlines():
        if section := _SECTION.match(line):
            code = kernels.setdefault(section[1], Code())
        elif found := _INSTRUCTION.match(line):
            opcode = found[1]
            name = opcode.split(".")[0]
            # Padding after the end, and jumps to themselves, are not run.
            code.instructions += name != "NOP"
            code.float64 += name in ("DADD", "DMUL", "DFMA", "DSETP")
            code.special += name == "MUFU"
            if name in ACCESSES:
                counts, bits = code.accesses.setdefault(name, {}), bits_of(opcode)
                counts[bits] = counts.get(bits, 0) + 1
    return kernels


def disassembler() -> str | None:
    """The path of nvdisasm: on PATH, beside nvcc, or in Triton's package."""
    candidates = [shutil.which("nvdisasm")]
    if cuda := toolkit():
        candidates.append(shutil.which("nvdisasm", path=str(cuda / "bin")))
    if (triton := importlib.util.find_spec("triton")) and triton.origin:
        folder = Path(triton.origin).parent / "backends" / "nvidia" / "bin"
        candidates.append(shutil.which("nvdisasm", path=str(folder)))
    return next((c for c in candidates if c), None)


def read(cubin: Path, tool: str) -> dict[str, Code]:
    """The kernels of a compiled file, by their mangled names."""
    run = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{tool} cannot read {cubin.name}:\n{run.stderr}")
    return parse(run.stdout)

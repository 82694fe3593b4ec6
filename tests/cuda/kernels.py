"""The names of the kernels: in the source, and as instantiated in a library."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "csrc/cuda").glob("*.cu"))
HEADERS = sorted((ROOT / "csrc/cuda").glob("*.h"))

_KERNEL = re.compile(
    r"__global__\s+void\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s+)?(\w+)\("
)


def source_names() -> set[str]:
    """Every __global__ function."""
    return {name for path in (*SOURCES, *HEADERS) for name in _KERNEL.findall(path.read_text())}


def short_name(symbol: str) -> str:
    """`symbol` without namespaces and arguments."""
    for noise in ("fk::cuda::", "fk::baseline::", "fk::", "(anonymous namespace)::", "void "):
        symbol = symbol.replace(noise, "")
    return symbol[: symbol.index("(")] if "(" in symbol else symbol


def symbols(library: Path) -> dict[str, int]:
    """The kernels in a library and where they are."""
    names = source_names()
    found = {}
    listing = subprocess.run(
        ["nm", "-C", "--defined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        address, _, symbol = line.split(" ", 2)
        kernel = short_name(symbol)
        inner = "{lambda" in symbol or "operator()" in symbol
        if "fk::cuda::" in symbol and kernel.split("<")[0] in names and not inner:
            found[kernel] = int(address, 16)
    return found

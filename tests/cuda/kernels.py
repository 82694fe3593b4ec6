"""The kernels: their sources, their compiler, their names in the source and in a library."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "csrc/cuda").glob("*.cu"))
HEADERS = sorted(p for d in ("cuda", "engine/cuda") for p in (ROOT / "csrc" / d).glob("*.h"))

_KERNEL = re.compile(
    r"__global__\s+void\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s+)?(\w+)\("
)


def toolkit() -> Path | None:
    """Where the CUDA toolkit is; nvcc on PATH may be a script or a link elsewhere."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        return None
    dry = subprocess.run(
        [nvcc, "--dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True, check=False
    ).stderr
    found = re.search(r"^#\$ TOP=(.+)$", dry, re.MULTILINE)
    return (Path(nvcc).parent / found[1].strip()).resolve() if found else None


def source_names() -> set[str]:
    """Every __global__ function."""
    return {name for path in (*SOURCES, *HEADERS) for name in _KERNEL.findall(path.read_text())}


def short_name(symbol: str) -> str:
    """`symbol` without namespaces and arguments."""
    for noise in ("fk::cuda::", "fk::baseline::", "fk::", "(anonymous namespace)::", "void "):
        symbol = symbol.replace(noise, "")
    symbol = re.sub(r"\((\w+)\)(-?\d+)", _enumerator, symbol).replace("> >", ">>")
    return symbol[: symbol.index("(")] if "(" in symbol else symbol


def _enumerator(match: re.Match[str]) -> str:
    """``(BesselFunction)3`` by name."""
    name, number = match.groups()
    if name == "int":
        return number
    if name == "bool":
        return "true" if int(number) else "false"
    for header in (ROOT / "csrc/args").glob("*.h"):
        text = header.read_text().replace("\\\n", " ")
        option = re.search(rf"FK_OPTION\({name}, (\w+)\)", text)
        if option and (values := re.search(rf"#define {option[1]}\(X\)([^\n]*)", text)):
            return re.findall(r"X\((\w+)\)", values[1])[int(number)]
    return match[0]


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

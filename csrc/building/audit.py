"""Checks that each compiled part of a wheel needs no more than it says.

    python -m csrc.building.audit dist/flowkernels-*.whl

libflowkernels_kernels needs neither torch nor Python, libflowkernels_torch no Python; so they
serve every torch, and every Python. Prints the size and the newest glibc that each part needs.
"""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FORBIDDEN = {
    "libflowkernels_kernels": re.compile(r"^(Py|_Py|THP|_ZNK?\d?(2at|3c10|5torch|8pybind11))"),
    "libflowkernels_torch": re.compile(r"^(Py|_Py|THP|_ZNK?8pybind11)"),
}
LIBRARIES = {
    "libflowkernels_kernels": re.compile(r"torch|c10|python"),
    "libflowkernels_torch": re.compile(r"python"),
}


@dataclass(frozen=True)
class Part:
    """A compiled file: the libraries that it names, the symbols and the glibc that it needs."""

    path: Path
    libraries: list[str]
    symbols: list[str]
    glibc: tuple[int, ...]

    @property
    def problems(self) -> list[str]:
        """What it needs and should not."""
        for name, forbidden in FORBIDDEN.items():
            if self.path.name.startswith(name):
                symbols = [f"the symbol {s}" for s in self.symbols if forbidden.search(s)]
                libraries = [
                    f"the library {n}" for n in self.libraries if LIBRARIES[name].search(n)
                ]
                return symbols + libraries
        return []


def read(path: Path) -> Part:
    """The facts of a file."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    with path.open("rb") as file:
        elf = ELFFile(file)
        dynamic = elf.get_section_by_name(".dynamic")
        libraries = [t.needed for t in dynamic.iter_tags() if t.entry.d_tag == "DT_NEEDED"]
        symbols = elf.get_section_by_name(".dynsym").iter_symbols()
        undefined = [s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF"]
        versions = [(0,)]
        for section in elf.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, needed in section.iter_versions():
                    for each in needed:
                        if found := re.fullmatch(r"GLIBC_([\d.]+)", each.name):
                            versions.append(tuple(map(int, found[1].split("."))))
    return Part(path, libraries, undefined, max(versions))


def main(arguments: list[str]) -> int:
    """Prints a line for each part; returns 1 if one needs what it should not."""
    code = 0
    for wheel in map(Path, arguments):
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.endswith(".so") or ".so." in n]
            archive.extractall(folder, names)
            for name in sorted(names):
                part = read(Path(folder, name))
                glibc = ".".join(map(str, part.glibc))
                size = part.path.stat().st_size / 1e6
                print(f"  {name}: {size:.1f} MB, glibc {glibc}, {', '.join(part.libraries)}")
                for problem in part.problems:
                    print(f"    needs {problem}")
                    code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

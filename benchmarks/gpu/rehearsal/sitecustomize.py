"""For PYTHONPATH: hides the packages that the GPU's machine lacks, as packages.txt lists them.

Python imports a module of this name at its start. Modules of hidden packages are not found, as
if they were not installed; those of the standard library and of the checkout are.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

NAMES = "FLOWKERNELS_HIDDEN_MODULES"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def hidden() -> set[str]:
    """The modules of all packages installed here and not listed."""
    if NAMES in os.environ:
        return set(os.environ[NAMES].split())
    lines = Path(__file__).with_name("packages.txt").read_text().splitlines()
    listed = {_plain(name) for line in lines if line[:1] != "#" for name in line.split()}
    found = importlib.metadata.packages_distributions().items()
    names = {m for m, packages in found if not any(_plain(p) in listed for p in packages)}
    os.environ[NAMES] = " ".join(sorted(names))
    return names


HIDDEN = hidden()


class PathFinder(importlib.machinery.PathFinder):
    """The usual one, but for what is hidden."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """None for a hidden module."""
        if fullname in HIDDEN:
            return None
        return super().find_spec(fullname, path, target)


sys.meta_path[:] = [
    PathFinder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path
]

"""Wheels of peers that the GPU's machine lacks: built here, unpacked there.

    python -m benchmarks.gpu.wheels

The packages are pure Python, so the wheels work on any machine.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from . import tree

PACKAGES = ("normflows==1.7.3",)
FOLDER = tree.ROOT / "build" / "gpu-objects" / "wheels"
SITE = tree.TREE / "site"


def make() -> list[Path]:
    """Build the missing wheels from the package registry."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        name, version = package.split("==")
        if list(FOLDER.glob(f"{name}-{version}-*.whl")):
            continue
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--wheel-dir", str(FOLDER), package]
        subprocess.run(command, check=True)
    return sorted(FOLDER.glob("*.whl"))


def unpack() -> list[str]:
    """Unpack the wheels into a folder on PYTHONPATH; returns their names."""
    found = sorted(FOLDER.glob("*.whl")) if FOLDER.exists() else []
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(SITE)
    return [wheel.name for wheel in found]


if __name__ == "__main__":
    for path in make():
        print(path.name)

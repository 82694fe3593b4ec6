"""Packages of peers that the GPU's machine lacks: made into wheels here, unpacked there.

    python -m benchmarks.gpu.wheels

They are pure Python, so that a wheel made anywhere serves.
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
    """Makes the wheels, from the package registry; those that are there are kept."""
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
    """Puts what was carried where PYTHONPATH will find it; returns the names."""
    found = sorted(FOLDER.glob("*.whl")) if FOLDER.exists() else []
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(SITE)
    return [wheel.name for wheel in found]


if __name__ == "__main__":
    for path in make():
        print(path.name)

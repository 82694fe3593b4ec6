"""torch's headers, compiled once for the bindings of the emulator."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import torch


def precompile(compiler: list[str], flags: list[str], header: Path, folder: Path) -> list[str]:
    """The options with which GCC reads a header's compiled form, made in `folder` if need be.

    The form serves later compilations with the same flags. Where it cannot, GCC says so and parses
    the header; where it cannot be made, there are no options. Either only takes longer.
    """
    text = header.read_text()
    version = subprocess.run([*compiler, "-v"], capture_output=True, text=True).stderr
    facts = [text, version, torch.__version__, *compiler, *flags]
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    copy = folder / f"{header.stem}.{key}.h"
    target = copy.with_suffix(".h.gch")
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in [*folder.glob(f"{header.stem}.*.h"), *folder.glob(f"{header.stem}.*.gch")]:
            old.unlink(missing_ok=True)
        copy.write_text(text)
        partial = target.with_suffix(f".{os.getpid()}.partial")
        command = [*compiler, *flags, "-w", "-x", "c++-header", str(copy), "-o", str(partial)]
        if subprocess.run(command).returncode:
            print(f"{header.name} is not compiled ahead; every binding parses it")
            partial.unlink(missing_ok=True)
            return []
        partial.replace(target)
    return ["-Winvalid-pch", "-include", str(copy)]

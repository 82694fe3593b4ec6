"""Runs pytest in a process where fake CUDA tensors have gradients, with or without a GPU.

torch's CUDA build supports that. For its CPU build, a small preloaded library registers a
stand-in accelerator (stand_in.cpp).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils import cpp_extension

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("stand_in.cpp")
BUILD = ROOT / "build" / "device-stand-in"


def missing() -> str | None:
    """Why this machine cannot run the checks, or None."""
    if torch.backends.cuda.is_built() or shutil.which("g++"):
        return None
    return "g++ was not found, and this torch is built without CUDA"


def library() -> Path:
    """The library to preload, built on first use."""
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    target = BUILD / f"stand_in.{key}.so"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds at a time
        if not target.exists():
            command = ["g++", "-std=c++20", "-shared", "-fPIC", "-O0", str(SOURCE)]
            command += [f"-I{path}" for path in cpp_extension.include_paths()]
            for path in cpp_extension.library_paths():
                command += [f"-L{path}", f"-Wl,-rpath,{path}"]
            temporary = target.with_suffix(".tmp")
            subprocess.run([*command, "-lc10", "-ltorch_cpu", "-o", str(temporary)], check=True)
            temporary.rename(target)
    return target


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Pytest in a separate process whose torch accepts fake CUDA tensors."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not torch.backends.cuda.is_built():
        environment["LD_PRELOAD"] = str(library())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(
        [*command, *arguments],
        env=environment, capture_output=True, text=True, cwd=ROOT, timeout=600,
    )  # fmt: skip

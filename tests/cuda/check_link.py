"""Builds and loads both extensions against the torch of the GPU machine, with no GPU.

    python -m tests.cuda.check_link [--jobs N] [--if-there]

torch 2.11.0 of the package registry, for CUDA 13.0, goes into an environment of its own in
build/link-2.11: a download of about 2.5 GB, once. Then `benchmarks.gpu.build`, the very command
of a run on a GPU, compiles, links and loads, and every op with a kernel for the CPU must have
one for CUDA. With --if-there nothing is downloaded: without the environment the check is
skipped, and says so.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "2.11.0"
FOLDER = ROOT / "build" / "link-2.11"
PYTHON = FOLDER / "venv" / "bin" / "python"
ARCHITECTURE = "sm_90"
# Beside torch, in the versions of constraints.txt.
PACKAGES = ("numpy", "ninja", "wheel")


def problem() -> str | None:
    """Why the check cannot run with what is here, if so."""
    if shutil.which("nvcc") is None:
        return "nvcc was not found on PATH"
    if not list(FOLDER.glob(f"venv/lib/python*/site-packages/torch-{TORCH}*.dist-info")):
        return (
            f"{FOLDER.relative_to(ROOT)}/venv does not hold torch {TORCH};"
            " `make check-link` downloads it (about 2.5 GB, 5 GB on disk)"
        )
    return None


def install(python: str) -> None:
    """Makes the environment; `python` decides its version."""
    constraints = (ROOT / "constraints.txt").read_text()
    chosen = [m[0] for p in PACKAGES if (m := re.search(rf"^{p}==.*$", constraints, re.MULTILINE))]
    print(f"installing torch {TORCH} into {FOLDER.relative_to(ROOT)}/venv ...", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", PYTHON.parents[1]], check=True)
    # setuptools as this torch wants it.
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, f"torch=={TORCH}", "setuptools<82", *chosen], check=True)


def build(jobs: int, where: Path = FOLDER / "tree") -> subprocess.CompletedProcess[str]:
    """Builds into a tree of its own and loads it; messages are in the standard output."""
    command = [PYTHON, "-m", "benchmarks.gpu.build", "--architecture", ARCHITECTURE]
    return subprocess.run(
        [*command, "--jobs", str(jobs), "--tree", where],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip


def main() -> int:
    """0 if everything is linked, loaded and registered, or skipped as asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--if-there", action="store_true", help="download nothing: skip instead")
    parser.add_argument("--python", default=sys.executable, help="for a new environment")
    chosen = parser.parse_args()
    why = problem()
    if why and chosen.if_there:
        print(f"check-link was skipped: {why}")
        return 0
    if shutil.which("nvcc") is None:
        print(f"check-link cannot run: {why}")
        return 1
    if why:
        install(chosen.python)
    run = build(chosen.jobs)
    print(run.stdout, end="")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())

"""The machine of a run: versions, and clocks and power during the run."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

from . import tree

PACKAGES = ("torch", "triton", "numpy", "pytest", "pytest-xdist", "normflows", "ninja")
CLOCKS = ("timestamp", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu",
          "utilization.gpu", "clocks_event_reasons.active")  # fmt: skip


def _output_of(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=tree.ROOT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({type(error).__name__}: {' '.join(command)})"
    return run.stdout.strip() if run.returncode == 0 else f"(exit status {run.returncode})"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def of_machine(commit: str | None) -> dict[str, Any]:
    """Device, driver, versions and commit (`commit`, or git's if there is a repository)."""
    query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory"
    head = _output_of("git", "rev-parse", "HEAD") if (tree.ROOT / ".git").exists() else ""
    changed = "unknown: there is no repository of this commit"
    if head and commit in (None, head):
        watched = ("csrc", "python_ops", "flowkernels")
        changed = _output_of("git", "status", "--porcelain", "--", *watched)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit or head or "unknown",
        "uncommitted_changes": changed,
        "gpu": _output_of("nvidia-smi", query, "--format=csv,noheader"),
        "nvcc": _output_of("nvcc", "--version").splitlines()[-1:],
        "compiler": _output_of("c++", "--version").splitlines()[:1],
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


class Clocks:
    """Reads clocks and power five times a second; changes no setting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    def start(self) -> None:
        """Start reading if there is a GPU."""
        if shutil.which("nvidia-smi") is None:
            return
        query = f"--query-gpu={','.join(CLOCKS)}"
        with self.path.open("w") as file:
            self._process = subprocess.Popen(
                ["nvidia-smi", query, "--format=csv,noheader,nounits", "-lms", "200"],
                stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def since_last(self) -> dict[str, Any]:
        """Minimum, median and maximum of the readings since the last call."""
        if not self.path.exists():
            return {}
        with self.path.open(errors="replace") as file:
            file.seek(self._read)
            text = file.read()
            self._read = file.tell()
        rows = [r for r in csv.reader(text.splitlines()) if len(r) == len(CLOCKS)]
        found: dict[str, Any] = {}
        for i, name in enumerate(CLOCKS[1:-1], start=1):
            values = sorted(float(r[i]) for r in rows if _is_number(r[i]))
            if values:
                found[name] = [values[0], statistics.median(values), values[-1]]
        if reasons := sorted({r[-1].strip() for r in rows}):
            found[CLOCKS[-1]] = reasons
        return {"clocks": found} if found else {}

    def stop(self) -> None:
        """Stop reading."""
        if self._process:
            self._process.terminate()
            self._process.wait()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

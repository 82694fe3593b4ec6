"""The machine and the software of a result."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from flowkernels import _C

from .registry import every_core

ROOT = Path(__file__).parent.parent


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """Machine, software, commit; `busy` is the system load per core."""
    build = dict(_C.build_info())
    # Only code counts: results are written into the checkout too.
    changed = _git("status", "--porcelain", "--", "csrc", "python_ops", "flowkernels", "setup.py")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "uncommitted_changes": bool(changed),
        "processor": _processor(),
        "cores": every_core(),
        "busy": round(os.getloadavg()[0] / every_core(), 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "compiler": build["compiler"],
        "instruction_set": build["cpu_isa"],
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
    }

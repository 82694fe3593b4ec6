"""A command's process keeps freed memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")

# Allocates and frees 20 tensors of 8 MiB repeatedly; prints the page faults of nine rounds.
PROGRAM = """
import resource, sys, torch
from flowkernels.experiments.cli.memory import keep_freed_memory

assert keep_freed_memory() == (sys.argv[1] == "taken")
if sys.argv[1] == "refused":
    sys.exit(print(0))

def step():
    tensors = [torch.ones(2 << 20) for _ in range(20)]
    del tensors

for _ in range(9):  # the heap grows for a while
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(9):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 9 * 20 * (8 << 20) // 4096


def faults(*arguments: str, **environment: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(run.stdout)


def test_freed_memory_is_reused() -> None:
    """Otherwise about every second process faults on every page, depending on its heap's start."""
    for _ in range(4):
        assert faults("taken") < PAGES // 100


def test_environment_settings_take_precedence() -> None:
    faults("refused", MALLOC_TRIM_THRESHOLD_="131072")

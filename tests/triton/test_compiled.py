"""Triton kernels compile for NVIDIA and AMD GPUs, read 16 bytes at a time, and do not spill."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: it has no wheels for this system")

from .compile_all import TARGETS, compile_for, problem
from .variants import Launch, launches

QUICK = launches(quick=True)


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing compiled earlier is taken for compiled now."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


# Kernels whose widest access is narrower, and why.  Rows of d + 1 elements start at any element, so
# that 16 bytes of one are not 16 bytes of memory.  Where all that a kernel touches lies like that,
# it works in those places (engine/tiles.py); but a tile cannot be moved by a few elements:
# `tl.gather`, Triton's only means, becomes 1029 shuffles a thread for a row of 1024 (Triton 3.7).
NARROW = {
    "points": "a thread has one point of a mixture, and reads its products one by one",
    "rational_quadratic_spline": "a thread has one element, and reads its parameters one by one",
    "stereographic_inverse ": "rows of d + 1 become rows of d, whose writes are aligned",
    "tangent_normal": "rows of d + 1; a random number is made where its run of 32 has it",
    "vmf_sample": "reads nothing but a concentration and a seed",
}


@pytest.mark.parametrize("launch", QUICK, ids=lambda launch: launch.label)
def test_compiles(launch: Launch) -> None:
    for target in TARGETS:
        compiled = compile_for(launch, target)
        assert problem(compiled) is None
        if target.startswith("sm_"):
            narrow = any(launch.label.startswith(kernel) for kernel in NARROW)
            assert (compiled.widest_load == 16) != narrow, (
                f"{target} reads {compiled.widest_load} bytes at most"
            )

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


# Points on the sphere are rows of d + 1 elements, which start at odd addresses.
NARROW = tuple(
    f"{kernel} {dtype}, {label}"
    for kernel, label in (
        ("stereographic.inverse_forward", "long rows"),
        ("vmf.forward", "one loc"),
        ("vmf.backward", "one loc"),
    )
    for dtype in ("fp32", "bf16")
)
narrow = pytest.mark.xfail(strict=True, reason="reads a row of d + 1 elements one at a time")


@pytest.mark.parametrize(
    "launch",
    [pytest.param(x, marks=[narrow] if x.label in NARROW else []) for x in QUICK],
    ids=lambda launch: launch.label,
)
def test_compiles(launch: Launch) -> None:
    for target in TARGETS:
        compiled = compile_for(launch, target)
        assert problem(compiled) is None
        if target.startswith("sm_"):
            assert compiled.widest_load == 16, (
                f"{target} reads {compiled.widest_load} bytes at most"
            )

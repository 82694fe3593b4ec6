"""Where the compiled CUDA kernels are built, importing the ops registers them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu import compilation, tree
from tests import forked


def beside_the_extension(checkout: Path) -> Path:
    """The folder of the compiled module for the installed torch."""
    there = list(tree.compiled(checkout).glob(f"{compilation.setup().TORCH.folder}/_C.*"))
    if not there:
        pytest.skip("flowkernels is not built in this checkout: there is nothing to stand beside")
    return there[0].parent


def _import_ops(
    extension: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str = ""
) -> subprocess.CompletedProcess[str]:
    """Imports the ops beside a module that stands for the extension."""
    monkeypatch.setattr(tree, "TREE", tmp_path)
    tree.make(built_elsewhere=True)
    (beside_the_extension(tmp_path) / "_C_cuda.py").write_text(extension)
    code = "import flowkernels.ops as o; print(o.__file__)"
    return forked.run(code, cwd=tmp_path, env={**os.environ, "FLOWKERNELS_BACKEND": backend})


def test_the_extension_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _import_ops("print('registered')", tmp_path, monkeypatch)
    assert run.stdout.split() == ["registered", str(tmp_path / "flowkernels/ops/__init__.py")], (
        run.stderr
    )


def test_triton_takes_its_place_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    run = _import_ops("print('registered')", tmp_path, monkeypatch, "triton")
    assert run.returncode == 0, run.stderr
    assert "registered" not in run.stdout


def test_an_extension_that_does_not_load_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _import_ops("raise ImportError('undefined symbol')", tmp_path, monkeypatch)
    assert run.returncode == 1
    assert "cannot be loaded: undefined symbol" in run.stderr
    assert "FLOWKERNELS_BACKEND=triton" in run.stderr

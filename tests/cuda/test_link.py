"""Both extensions against the torch of the GPU machine: linked, loaded, every op registered."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.gpu import tree
from tests import forked

from . import check_link
from .test_registration import beside_the_extension


@pytest.mark.slow
@pytest.mark.skipif(check_link.problem() is not None, reason=f"check-link: {check_link.problem()}")
def test_extensions_link_and_load() -> None:
    run = check_link.build(jobs=2)
    assert run.returncode == 0, run.stdout[-6000:]
    assert "built in" in run.stdout
    assert list(tree.compiled(check_link.FOLDER / "tree").glob("*/_C_cuda.*.so"))


def test_missing_environment_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_link, "ROOT", tmp_path)
    monkeypatch.setattr(check_link, "FOLDER", tmp_path / "build" / "link")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sys, "argv", ["check_link", "--if-there"])
    assert check_link.main() == 0
    said = capsys.readouterr().out
    assert "check-link was skipped: build/link/venv does not hold torch" in said
    assert "make check-link" in said


def test_op_without_a_cuda_kernel_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that registers one op and no other."""
    monkeypatch.setattr(tree, "TREE", tmp_path)
    tree.make(built_elsewhere=True)
    (beside_the_extension(tmp_path) / "_C_cuda.py").write_text(
        "import torch\n"
        "library = torch.library.Library('flowkernels', 'IMPL', 'CUDA')\n"
        "library.impl('slerp', lambda *a: None)\n"
        "def build_info(): return {}\n"
    )
    code = "import runpy; runpy.run_module('benchmarks.gpu.registered', run_name='__main__')"
    run = forked.run(code, cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    assert "FAILED flowkernels::slerp_backward" in run.stdout
    assert "FAILED flowkernels::vmf_sample_cosine" in run.stdout
    assert "FAILED flowkernels::slerp has" not in run.stdout

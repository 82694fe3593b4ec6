"""Runs the scripts of docs/examples and checks the outcome that each of them names."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
# The interval of each outcome.
OUTCOMES = {
    "cluster_embeddings": (0.9, 1.0),  # the purity; by chance about .2
    "conditional_rings": (0.0, 0.04),  # the noise around a ring is .05
    "interpolate_on_a_ring": (0.0, 0.5),  # of the distance of straight lines
    "latents": (0.0, 0.02),  # the straight line has .985
    "mixture_base": (0.98, 1.0),  # one component for all would give .33
    "realnvp_with_an_op": (0.0, 2e-6),  # rounding in float32
    "sbi_posterior": (0.0, 0.5),  # deviations of the exact posterior
}
NEEDS = {"sbi_posterior": "sbi"}


def _main(script: Path) -> Callable[..., float]:
    specification = importlib.util.spec_from_file_location(script.stem, script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


def test_every_script_has_an_outcome_and_says_what_it_shows() -> None:
    assert {script.stem for script in SCRIPTS} == set(OUTCOMES)
    for script in SCRIPTS:
        text = ast.get_docstring(ast.parse(script.read_text())) or ""
        assert "outcome" in text, f"{script.name}: the docstring names no outcome"
        assert f"python docs/examples/{script.name}" in text, f"{script.name}: no command"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_outcome(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if library := NEEDS.get(script.stem):
        pytest.importorskip(library, reason=f"{library} is not installed (extra `{library}`)")
    monkeypatch.chdir(tmp_path)
    least, most = OUTCOMES[script.stem]
    assert least <= _main(script)() <= most


@pytest.mark.slow
def test_a_script_runs_on_its_own_and_draws_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `train`)")
    picture = tmp_path / "rings.png"
    command = [sys.executable, str(FOLDER / "conditional_rings.py"), str(picture)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
